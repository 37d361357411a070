"""A run's folder is private, locked, found again, and said clearly where it cannot be."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.record.folder import RunFolder, find_run, kept_log_path, list_runs, new_run_id
from gptoss_flow.record.journal_file import JournalFile
from gptoss_flow.record.rlog import Rlog
from tests.conftest import need
from tests.record.samples import a_run, stamp

NOW = datetime(2026, 11, 5, 19, 42, 10, 482113, UTC)


def test_run_ids_sort_by_time_and_are_one_word() -> None:
    ids = [new_run_id(NOW + timedelta(microseconds=n)) for n in range(200)]
    assert ids == sorted(ids)
    assert ids[0].startswith("20261105_194210_482113_")
    assert all(re.fullmatch(r"\w+", run_id) for run_id in ids)
    assert new_run_id(NOW.astimezone()).startswith("20261105_194210_")


def test_run_ids_of_one_moment_differ() -> None:
    assert len({new_run_id(NOW) for _ in range(20)}) > 15


def test_everything_is_private_under_any_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            base = tmp_path / f"base{umask}"
            base.mkdir()
            base.chmod(0o755)
            folder = RunFolder.create(base, new_run_id(NOW))
            sinks = JournalFile(folder.events_path), Rlog(folder.rlog_path)
            for stamped in stamp(a_run()):
                for sink in sinks:
                    sink.take(stamped)
            for sink in sinks:
                sink.close()
            folder.close()
        finally:
            os.umask(before)
        found = list((base / ".gptoss-flow").rglob("*"))
        assert {path.name for path in found} >= {"runs", ".gitignore", "events.jsonl", "run.rlog", "lock"}
        for path in [base / ".gptoss-flow", *found]:
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_git_is_told_to_ignore_the_folder(tmp_path: Path) -> None:
    RunFolder.create(tmp_path, new_run_id(NOW)).close()
    assert (tmp_path / ".gptoss-flow" / ".gitignore").read_text() == "*\n"


def test_a_second_writer_of_a_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, new_run_id(NOW))
    with pytest.raises(RecordError, match=f"is being written by process {os.getpid()}") as seen:
        RunFolder(folder.path)
    assert seen.value.exit_code is ExitCode.RECORD
    folder.close()
    folder.close()
    RunFolder(folder.path).close()


def test_the_lock_ends_with_its_process(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, new_run_id(NOW))
    folder.close()
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from pathlib import Path; from gptoss_flow.record.folder import RunFolder;"
            " held = RunFolder(Path(sys.argv[1])); os.kill(os.getpid(), 9)",
            folder.path,
        ],
        check=False,
    )
    assert child.returncode == -9
    RunFolder(folder.path).close()


def test_a_run_is_never_put_into_the_folder_of_another(tmp_path: Path) -> None:
    run_id = new_run_id(NOW)
    RunFolder.create(tmp_path, run_id).close()
    with pytest.raises(RecordError, match="File exists"):
        RunFolder.create(tmp_path, run_id)


@pytest.mark.parametrize("blocked", [".gptoss-flow", ".gptoss-flow/runs"])
def test_a_file_that_is_in_the_way_is_named(tmp_path: Path, blocked: str) -> None:
    path = tmp_path / blocked
    path.parent.mkdir(exist_ok=True)
    path.write_text("in the way")
    with pytest.raises(RecordError, match=f"cannot create the run's folder .*{blocked} is not a folder"):
        RunFolder.create(tmp_path, new_run_id(NOW))
    with pytest.raises(RecordError, match="Not a directory"):
        list_runs(tmp_path)


def test_a_place_that_is_not_writable_is_a_record_error(tmp_path: Path) -> None:
    """A read-only file system, because the mode of a folder does not stop root."""
    need("mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", tmp_path], capture_output=True)
    need("the right to mount", found=mounted.returncode == 0)
    try:
        with pytest.raises(RecordError, match="Read-only file system; choose a folder that you may write to"):
            RunFolder.create(tmp_path, new_run_id(NOW))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_runs_are_listed_oldest_first_and_nothing_else_is(tmp_path: Path) -> None:
    assert list_runs(tmp_path) == []
    ids = [new_run_id(NOW + timedelta(seconds=n)) for n in (5, 1, 3)]
    for run_id in ids:
        RunFolder.create(tmp_path, run_id).close()
    runs = tmp_path / ".gptoss-flow" / "runs"
    (runs / "notes").mkdir()
    (runs / new_run_id(NOW)).write_text("a file")
    (runs / new_run_id(NOW + timedelta(seconds=9))).symlink_to(tmp_path, target_is_directory=True)
    assert [path.name for path in list_runs(tmp_path)] == sorted(ids)


def test_a_run_is_found_by_its_id_or_a_beginning_of_it(tmp_path: Path) -> None:
    first, second = new_run_id(NOW), new_run_id(NOW + timedelta(days=1))
    for run_id in (first, second):
        RunFolder.create(tmp_path, run_id).close()
    assert find_run(tmp_path, first).name == first
    assert find_run(tmp_path, second[:8]).name == second
    with pytest.raises(RecordError, match='"2026" could be any of 2 runs'):
        find_run(tmp_path, "2026")
    for wanted in ("../../etc", "1999", ""):
        with pytest.raises(RecordError, match=f"the newest is {second}"):
            find_run(tmp_path, wanted)
    with pytest.raises(RecordError, match="no run is on record there"):
        find_run(tmp_path / "elsewhere", first)


def test_kept_logs_of_one_second_do_not_overwrite_each_other(tmp_path: Path) -> None:
    paths = [kept_log_path(tmp_path / "docs" / "logs", "summarize-repo", NOW) for _ in range(3)]
    assert [str(path.relative_to(tmp_path)) for path in paths] == [
        "docs/logs/20261105/194210-summarize-repo.rlog",
        "docs/logs/20261105/194210-summarize-repo-2.rlog",
        "docs/logs/20261105/194210-summarize-repo-3.rlog",
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot create a log in"):
        kept_log_path(tmp_path / "file", "x", NOW)
