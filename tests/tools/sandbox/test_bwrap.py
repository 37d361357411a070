"""Finding bubblewrap, and saying why it does not work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gptoss_flow.errors import Problem
from gptoss_flow.tools.sandbox import bwrap, programs
from gptoss_flow.tools.sandbox.bwrap import Settings, explained
from gptoss_flow.tools.sandbox.programs import NotFound, trusted_program
from tests.conftest import need

NO_PERMISSION = "bwrap: No permissions to create new namespace"


@pytest.mark.parametrize(
    ("settings", "said", "cause", "fix"),
    [
        (
            Settings(max_user_namespaces=0),
            NO_PERMISSION,
            "namespaces are forbidden",
            "user.max_user_namespaces=15000",
        ),
        (Settings(userns_clone=False), NO_PERMISSION, "forbidden to users", "kernel.unprivileged_userns_clone=1"),
        (Settings(apparmor_restricts=True), "bwrap: setting up uid map", "AppArmor", "bwrap-userns-restrict"),
        (Settings(in_container=True), NO_PERMISSION, "this container", "--cap-add SYS_ADMIN"),
        (Settings(), "bwrap: Unknown option --disable-userns", "older than 0.8", "newer"),
        (Settings(), "bwrap: strange", "does not work here", "try it yourself"),
    ],
)
def test_the_cause_is_told_with_what_mends_it(settings: Settings, said: str, cause: str, fix: str) -> None:
    problem = explained(said, settings)
    assert cause in problem.message and said in problem.message
    assert fix in problem.hint and "\n" not in problem.hint


def program(folder: Path, *, mode: int = 0o755, folder_mode: int = 0o755) -> str:
    folder.mkdir()
    file = folder / "bwrap"
    file.write_text("#!/bin/sh\necho stolen\n")
    file.chmod(mode)
    folder.chmod(folder_mode)
    return str(file)


def test_only_what_nobody_else_could_have_put_there_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs.sys, "platform", "darwin")  # where it may be the user's own, whoever runs this
    good = program(tmp_path / "good")
    written = program(tmp_path / "written", mode=0o777)
    in_open = program(tmp_path / "open", folder_mode=0o777)
    plain = program(tmp_path / "plain", mode=0o644)
    link = tmp_path / "link"
    link.symlink_to(written)
    assert trusted_program([plain, written, in_open, str(link), good]) == os.path.realpath(good)
    assert trusted_program([written]) == NotFound(written)
    assert trusted_program([in_open]) == NotFound(in_open)
    assert trusted_program([str(link)]) == NotFound(str(link))
    assert trusted_program([plain, str(tmp_path / "none")]) == NotFound()


def test_on_linux_it_is_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("the right to give files away", found=os.geteuid() == 0)
    monkeypatch.setattr(programs.sys, "platform", "linux")
    place = program(tmp_path / "there")
    assert trusted_program([place]) == os.path.realpath(place)
    os.chown(place, 65534, 65534)
    assert trusted_program([place]) == NotFound(place)


def test_neither_the_path_nor_the_working_folder_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin")
    monkeypatch.chdir(tmp_path / "bin")
    monkeypatch.setenv("PATH", f".:{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = bwrap.find()
    assert isinstance(found, Problem) or Path(found).parent != tmp_path / "bin"
    assert all(place.startswith("/") for place in bwrap.PLACES)


def test_where_it_is_missing_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bwrap, "PLACES", ("/nonexistent/bwrap",))
    problem = bwrap.find()
    assert isinstance(problem, Problem)
    assert problem.message.endswith("bubblewrap is not installed") and "apt install bubblewrap" in problem.hint
