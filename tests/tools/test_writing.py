"""Where tools may write: nowhere but in the workspace, and nowhere in it that is git's or this program's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools import workspace as confinement
from gptoss_flow.tools.sandbox import guarded
from gptoss_flow.tools.writing import is_forbidden, writable
from tests.tools.conftest import Call, plant, tree
from tests.tools.race import raced

OWN = [
    ".git/hooks/pre-commit",
    ".git/config",
    ".git",
    "sub/.git/config",
    ".GIT/config",
    ".giT",
    ".git./config",
    ".git /config",
    ".git . ./x",
    "git~1/config",
    "GIT~1",
    ".g\u200cit/config",
    "\uff0egit/config",
    ".\uff47\uff49\uff54/hooks/x",
    ".git::$INDEX_ALLOCATION/x",
    ".gptoss-flow/runs/x/events.jsonl",
    ".GPTOSS-Flow/patch/journal",
    ".gptoss-flow./x",
]


def added(path: str) -> str:
    return f"*** Begin Patch\n*** Add File: {path}\n+x\n*** End Patch\n"


WAYS = {
    "add": added,
    "unified": lambda path: f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n",
    "update": lambda path: f"*** Begin Patch\n*** Update File: {path}\n@@\n-x\n+y\n*** End Patch\n",
    "delete": lambda path: f"*** Begin Patch\n*** Delete File: {path}\n*** End Patch\n",
    "move": lambda path: f"*** Begin Patch\n*** Update File: plain\n*** Move to: {path}\n*** End Patch\n",
    "rename": lambda path: f"diff --git a/plain b/{path}\nrename from plain\nrename to {path}\n",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    plant(tmp_path, {"outside/secret": "x\n"})
    return tmp_path / "outside"


@pytest.fixture
def refused(call: Call, workspace: Path, outside: Path):  # type: ignore[no-untyped-def]
    """Every way to write to a path is refused, and changes nothing anywhere."""

    def check(path: str, said: str) -> None:
        plant(workspace, {"plain": "x\n"})
        before = tree(workspace.parent)
        for way, patch in WAYS.items():
            with pytest.raises(StepError, match=said):
                call("apply_patch", patch=patch(path))
                pytest.fail(way)
        for mode in ("create", "overwrite", "append"):
            with pytest.raises(StepError):
                call("write_file", path=path, content="x", mode=mode, parents=True)
        assert tree(workspace.parent) == before

    return check


@pytest.mark.parametrize("path", OWN)
def test_what_is_gits_or_our_own_is_written_by_no_tool(refused, workspace: Path, path: str) -> None:  # type: ignore[no-untyped-def]
    plant(workspace, {".git/hooks/pre-commit": "x\n", ".git/config": "x\n", "sub/.git/config": "x\n"})
    refused(path, "tools may not write|invisible characters")


@pytest.mark.parametrize("path", ["venv/lib/x.pth", "venv/lib/python3/x.py", "Venv/LIB/x.py", "venv/lib"])
def test_what_this_program_runs_from_is_written_by_no_tool(  # type: ignore[no-untyped-def]
    refused, workspace: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(guarded, "running_from", lambda: [Path(os.path.realpath(workspace)) / "venv/lib"])
    plant(workspace, {"venv/lib/x.pth": "x\n", "venv/lib/python3/x.py": "x\n"})
    refused(path, "from which this program runs")


@pytest.mark.parametrize("name", [".gitignore", ".github", ".gitattributes", "git", ".git-blame", "gptoss-flow"])
def test_names_that_only_look_alike_are_written(call: Call, workspace: Path, name: str) -> None:
    call("apply_patch", patch=added(f"{name}/x"))
    call("write_file", path=f"{name}/y", content="y")
    assert tree(workspace) == {f"{name}/x": b"x\n", f"{name}/y": b"y"}


@given(st.sampled_from([".git", ".gptoss-flow"]), st.text(st.sampled_from(". "), max_size=3))
def test_case_and_ends_hide_no_name(name: str, after: str) -> None:
    assert is_forbidden("".join(c.upper() if n % 2 else c for n, c in enumerate(name)) + after)


def test_nothing_is_written_outside(refused, outside: Path, workspace: Path) -> None:  # type: ignore[no-untyped-def]
    for path in ("../outside/secret", str(outside / "secret"), "a/../../outside/secret", "/etc/passwd"):
        refused(path, "not relative to the workspace|outside")


def test_an_absolute_path_into_the_workspace_is_told_how_to_write(call: Call, workspace: Path) -> None:
    for path in (f"{workspace}/a/b", "x/../a/b"):
        with pytest.raises(StepError, match='is not relative to the workspace; write it as "a/b"'):
            call("apply_patch", patch=added(path))
    call("write_file", path=f"{workspace}/b", content="x")
    assert tree(workspace) == {"b": b"x"}


def test_no_link_is_followed_or_replaced(refused, workspace: Path, outside: Path) -> None:  # type: ignore[no-untyped-def]
    (workspace / "out").symlink_to(outside)
    (workspace / "file").symlink_to(outside / "secret")
    (workspace / "dangling").symlink_to(outside / "new")
    plant(workspace, {"real/x": "x\n"})
    (workspace / "in").symlink_to("real")
    for path in ("out/secret", "out/new", "out/new/deep", "file", "dangling", "in/x"):
        refused(path, "symbolic link")


def test_what_is_no_regular_file_is_neither_read_nor_replaced(refused, workspace: Path) -> None:  # type: ignore[no-untyped-def]
    os.mkfifo(workspace / "fifo")
    plant(workspace, {"folder/x": "x\n"})
    refused("fifo", "not a regular file")
    refused("folder", "is a folder")
    refused("plain/x", "below a file")


@pytest.mark.parametrize("path", ["", ".", "./", "/", "..", "a/..", "a\0b", "a\x1b[31m", "a\u202eb", "a/"])
def test_a_path_that_names_no_file_is_refused(call: Call, workspace: Path, path: str) -> None:
    with pytest.raises(StepError) as caught:
        writable(path, ToolContext(workspace=workspace), relative=True)
    assert "\x1b" not in caught.value.message
    with pytest.raises(StepError):
        call("apply_patch", patch=f"*** Begin Patch\n*** Delete File: {path}\n*** End Patch\n")
    assert workspace.is_dir()


def test_a_hard_link_to_something_outside_is_cut_not_written_through(
    call: Call, workspace: Path, outside: Path
) -> None:
    (workspace / "hard").hardlink_to(outside / "secret")
    call("apply_patch", patch="*** Begin Patch\n*** Update File: hard\n@@\n-x\n+y\n*** End Patch\n")
    assert (workspace / "hard").read_bytes() == b"y\n"
    assert (outside / "secret").read_bytes() == b"x\n"


@pytest.mark.parametrize("openat2", [True, False])
def test_a_folder_that_is_swapped_for_a_link_meanwhile_leads_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, openat2: bool
) -> None:
    """Run 10,000 times by `python -m tests.faults patch-race`."""
    if not confinement._has_openat2:
        pytest.skip("names are exchanged by Linux's renameat2")
    monkeypatch.setattr(confinement, "_has_openat2", openat2)
    figure = raced(tmp_path, 150)
    assert figure.wrong == []
    assert figure.made
