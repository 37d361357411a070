"""Several files are changed together or not at all, whatever ends a change half-way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.tools import commit as committing
from gptoss_flow.tools import commit_journal, writing
from tests.faults.patches import NEW, OLD, PATCH, prepared, undone
from tests.tools.conftest import Call, plant, tree

JOURNAL = ".gptoss-flow/patch/journal"


def test_a_change_leaves_nothing_beside_it(call: Call, workspace: Path) -> None:
    prepared(workspace)
    call("apply_patch", patch=PATCH)
    assert tree(workspace) == NEW
    assert not (workspace / ".gptoss-flow").exists()


def test_a_folder_of_records_is_left_where_it_is(call: Call, workspace: Path) -> None:
    plant(workspace, {".gptoss-flow/runs/x": "record\n"})
    call("write_file", path="a", content="x")
    assert tree(workspace) == {".gptoss-flow/runs/x": b"record\n", "a": b"x"}


class Failing:
    """A call of the system that fails once: when it was made so often."""

    def __init__(self, real: Any, after: int) -> None:
        self._real, self._after, self.made = real, after, 0

    def __call__(self, *args: Any, **named: Any) -> Any:
        self.made += 1
        if self.made == self._after + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return self._real(*args, **named)


@pytest.mark.parametrize("name", ["rename", "link", "unlink", "mkdir", "fsync", "open", "write"])
def test_an_error_at_any_call_takes_all_back(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real, hits = getattr(os, name), 0
    for number in range(400):
        if (workspace / "a.txt").exists():
            undone(workspace)
        prepared(workspace)
        failing = Failing(real, number)
        with monkeypatch.context() as patched:
            patched.setattr(os, name, failing)
            try:
                call("apply_patch", patch=PATCH)
                failed = False
            except StepError:
                failed = True
        if failing.made <= number:
            break
        hits += 1
        found = {path: data for path, data in tree(workspace).items() if not path.startswith(".gptoss-flow")}
        if failed and found not in (OLD, NEW):
            # The way back was cut off as well: the next writer goes it.
            call("write_file", path="other", content="x")
            (workspace / "other").unlink()
            found = tree(workspace)
        assert found == (OLD if failed else NEW), (number, failed)
    assert hits


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.EXDEV, '"new/deep/c.txt" lies on another file system than'),
        (errno.EROFS, '"new/deep/c.txt" cannot be written: Read-only file system'),
    ],
)
def test_why_a_file_cannot_be_put_in_place_is_said(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch, code: int, said: str
) -> None:
    prepared(workspace)
    for name in ("link", "rename"):
        real = getattr(os, name)

        def refusing(source: str, target: str, real: Any = real, **named: Any) -> None:
            if target == "c.txt":
                raise OSError(code, os.strerror(code))
            real(source, target, **named)

        monkeypatch.setattr(os, name, refusing)
    with pytest.raises(StepError, match=said):
        call("apply_patch", patch=PATCH)
    assert tree(workspace) == OLD


def test_what_was_interrupted_is_taken_back_by_the_next_writer_who_says_so(call: Call, workspace: Path) -> None:
    prepared(workspace)
    half_done(call, workspace)
    assert tree(workspace)["a.txt"] == NEW["a.txt"]
    told = call("apply_patch", patch=PATCH, dry_run=True)
    assert told["taken_back"] == ["an earlier change was interrupted and is taken back"]
    assert tree(workspace) == OLD
    assert "taken_back" not in call("apply_patch", patch=PATCH)


def test_what_was_changed_after_an_interruption_is_left_and_named(call: Call, workspace: Path) -> None:
    prepared(workspace)
    half_done(call, workspace)
    plant(workspace, {"a.txt": "mine\n"})
    told = call("write_file", path="x", content="x")
    assert told["taken_back"][1:] == ['"a.txt" was changed since, and is left so']
    assert tree(workspace) == {**OLD, "a.txt": b"mine\n", "x": b"x"}


def half_done(call: Call, workspace: Path) -> None:
    """A patch whose process ends when all is in place, and before the journal is gone."""

    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(committing, "_synced", killed)
        with pytest.raises(Killed):
            call("apply_patch", patch=PATCH)
    assert (workspace / JOURNAL).exists()


@pytest.mark.parametrize(
    "journal",
    [
        "",
        "[]",
        "{" * 5000,
        '{"version": 2}',
        '{"version": 1, "files": [{"parts": ["..", "x"], "before": null, "after": null}], "folders": []}',
        '{"version": 1, "files": [{"parts": ["/etc/passwd"], "before": null, "after": null}], "folders": []}',
        '{"version": 1, "files": [{"parts": [".git", "config"], "before": null, "after": null}], "folders": []}',
        '{"version": 1, "files": [], "folders": [[".git"]]}',
        '{"version": 1, "files": [{"parts": "ab", "before": 1, "after": null}], "folders": []}',
        '{"version": 1, "files": [{"parts": ["a"], "before": ["x", 1e999], "after": null}], "folders": []}',
        '{"version": 1, "files": [{"parts": ["\\ud800"], "before": null, "after": null}], "folders": []}',
        '{"version": 1, "files": [], "folders": [["\\ud800"]]}',
    ],
)
def test_a_journal_that_others_wrote_is_not_followed(call: Call, workspace: Path, journal: str) -> None:
    plant(workspace, {JOURNAL: journal, ".git/config": "x", "a": "x"})
    before = tree(workspace.parent)
    with pytest.raises(
        StepError, match=r"\.gptoss-flow/patch/journal in the workspace is not one of this program"
    ):
        call("write_file", path="b", content="x")
    assert tree(workspace.parent) == before


def test_what_no_journal_could_take_back_is_not_begun(call: Call, workspace: Path) -> None:
    with pytest.raises(StepError, match="nothing was changed: paths so deep"):
        call("write_file", path="a/" * 2000 + "x", content="x", parents=True)
    assert tree(workspace) == {}


def test_a_forged_journal_cannot_bring_in_what_it_does_not_have(
    call: Call, workspace: Path, tmp_path: Path
) -> None:
    plant(tmp_path, {"outside/secret": "secret\n"})
    plant(workspace, {"a": "after\n"})
    digest = writing_digest("after\n")
    entry = {"parts": ["a"], "before": [writing_digest("secret\n"), 0o644], "after": [digest, 0o644]}
    plant(workspace, {JOURNAL: json.dumps({"version": 1, "files": [entry], "folders": []})})
    (workspace / "a").chmod(0o644)
    (workspace / ".gptoss-flow/patch/old-0").symlink_to(tmp_path / "outside/secret")
    with pytest.raises(StepError, match=r"cannot be taken back|symbolic link"):
        call("write_file", path="b", content="x")
    assert (workspace / "a").read_text() == "after\n"


def writing_digest(text: str) -> str:
    state = commit_journal.State.of(writing.Content(text.encode(), 0o644, (0, 0)))
    assert state is not None
    return state.digest


def test_a_stage_that_leads_elsewhere_is_refused(call: Call, workspace: Path, tmp_path: Path) -> None:
    plant(tmp_path, {"outside/patch/x": "x"})
    (workspace / ".gptoss-flow").symlink_to(tmp_path / "outside")
    with pytest.raises(StepError, match=r"\.gptoss-flow/patch in the workspace cannot be opened"):
        call("write_file", path="a", content="x")
    assert tree(tmp_path / "outside") == {"patch/x": b"x"}


def test_a_file_that_others_change_meanwhile_is_not_overwritten(
    call: Call, workspace: Path, own_state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(workspace)
    real = committing.write_journal

    def meanwhile(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        plant(workspace, {"d/b.txt": "mine\n"})

    monkeypatch.setattr(committing, "write_journal", meanwhile)
    with pytest.raises(StepError, match=r'"d/b\.txt" was changed by somebody else meanwhile; read it again'):
        call("apply_patch", patch=PATCH)
    assert tree(workspace) == {**OLD, "d/b.txt": b"mine\n"}
    assert list(own_state.rglob("*.json")) == [], "what was not made needs no undo"


def test_one_writer_waits_for_another_and_not_for_ever(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_PATIENCE_S", 0.05)
    descriptor = os.open(workspace, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(StepError, match="another process has been writing to this workspace"):
            call("write_file", path="a", content="x")
    finally:
        os.close(descriptor)
    call("write_file", path="a", content="x")


def test_where_no_hard_links_can_be_made_copies_serve(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refusing)
    prepared(workspace)
    half_done(call, workspace)
    call("apply_patch", patch=PATCH, dry_run=True)
    assert tree(workspace) == OLD
    call("apply_patch", patch=PATCH)
    assert tree(workspace) == NEW
    assert stat.S_IMODE((workspace / "moved.sh").stat().st_mode) == 0o755


@given(st.integers(0, 0o777))
def test_a_mode_is_written_as_it_is(mode: int) -> None:
    folder = os.open(os.environ.get("TMPDIR", "/tmp"), os.O_RDONLY)
    try:
        assert writing.write_new(folder, "mode-of-a-test", b"x", mode=mode, exact=True, owner=None) == mode
    finally:
        os.unlink("mode-of-a-test", dir_fd=folder)
        os.close(folder)
