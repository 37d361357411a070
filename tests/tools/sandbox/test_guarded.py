"""What of a workspace tool code may not write or see."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.record.folder import STATE_FOLDER
from gptoss_flow.tools.sandbox import guarded as room
from gptoss_flow.tools.sandbox.guarded import OWN_FOLDER, PACKAGE, checked, guarded


def kept(workspace: Path) -> list[tuple[str, str]]:
    return [("/".join(one.parts), one.how) for one in guarded(workspace)]


def test_the_record_is_hidden_and_git_is_only_read(tmp_path: Path) -> None:
    assert OWN_FOLDER == STATE_FOLDER
    (tmp_path / ".git").mkdir()
    assert kept(tmp_path) == [(".git", "read"), (OWN_FOLDER, "hidden")]


def test_our_folder_is_there_before_tool_code_could_plant_one(tmp_path: Path) -> None:
    assert kept(tmp_path) == [(OWN_FOLDER, "hidden")]
    assert (tmp_path / OWN_FOLDER).stat().st_mode & 0o777 == 0o700
    assert kept(tmp_path) == [(OWN_FOLDER, "hidden")]
    (tmp_path / OWN_FOLDER).rmdir()
    (tmp_path / OWN_FOLDER).symlink_to(tmp_path)
    with pytest.raises(StepError, match="is no folder"):
        guarded(tmp_path)


def test_a_record_deeper_in_the_workspace_is_hidden_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b" / OWN_FOLDER).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a/b")
    assert kept(tmp_path) == [
        (OWN_FOLDER, "hidden"),
        ("a", "pinned"),
        ("a/b", "pinned"),
        (f"a/b/{OWN_FOLDER}", "hidden"),
    ]


def test_a_link_in_place_of_git_is_not_mounted(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / ".git").mkdir(parents=True)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / ".git").symlink_to(outside / ".git")
    assert kept(workspace) == [(OWN_FOLDER, "hidden")]


def test_what_we_run_from_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "venv/lib").mkdir(parents=True)
    monkeypatch.setattr(room, "running_from", lambda: [tmp_path / "venv/lib"])
    assert kept(tmp_path) == [(OWN_FOLDER, "hidden"), ("venv", "pinned"), ("venv/lib", "read")]
    with pytest.raises(StepError, match="not for tool code to change"):
        checked(tmp_path / "venv/lib")


def test_the_package_is_never_the_workspace() -> None:
    with pytest.raises(StepError, match="lies in"):
        checked(PACKAGE / "tools")


def test_a_home_is_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "ann"
    (home / "project").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for folder in (home, home.parent, Path("/")):
        with pytest.raises(StepError, match="holds your home"):
            checked(folder)
    assert checked(home / "project") == home / "project"


def test_a_workspace_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="is not a folder"):
        checked(tmp_path / "none")
