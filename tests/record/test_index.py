"""The index tells what the run folders tell, whatever became of the index."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gptoss_flow.record.folder import RunFolder, new_run_id
from gptoss_flow.record.index import INDEX, RunEntry, list_entries
from gptoss_flow.record.journal_file import JournalFile
from gptoss_flow.record.state import Tokens
from tests.record.samples import a_run, stamp


def put_run(base: Path, day: int = 1, events: int | None = None) -> Path:
    """A run of that day of 2026, with its first `events` events on record."""
    folder = RunFolder.create(base, new_run_id(datetime(2026, 1, day, tzinfo=UTC)))
    journal = JournalFile(folder.events_path)
    for stamped in stamp(a_run())[:events]:
        journal.take(stamped)
    journal.close()
    folder.close()
    return folder.path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for day, events in ((1, None), (2, 5), (3, 0)):
        put_run(tmp_path, day, events)
    return tmp_path


def from_the_folders(base: Path) -> list[RunEntry]:
    shutil.rmtree(base.parent / "copy", ignore_errors=True)
    copy = shutil.copytree(base, base.parent / "copy", ignore=shutil.ignore_patterns("index*"), symlinks=True)
    return list_entries(copy)


def test_a_run_in_one_line(base: Path) -> None:
    empty, cut, whole = list_entries(base)
    assert whole == RunEntry(
        id=whole.id,
        flow="summarize-repo",
        flow_path="flows/summarize-repo.yaml",
        started_at="2026-01-01T00:00:00+00:00",
        status="succeeded",
        exit_code=0,
        duration_s=whole.duration_s,
        steps_done=3,
        steps=3,
        tokens=Tokens(computed=10, reused=30, generated=6),
    )
    assert whole.duration_s == pytest.approx(0.026, abs=0.001), "of both of its lives, as its events tell"
    assert (cut.status, cut.exit_code, cut.duration_s, cut.steps_done, cut.steps) == (
        "unfinished",
        None,
        None,
        1,
        3,
    )
    assert (empty.status, empty.started_at) == ("unreadable", "2026-01-03T00:00:00+00:00")


def test_a_run_that_is_being_written_runs_and_its_lock_is_not_taken(base: Path) -> None:
    folder = RunFolder(list_runs_of(base)[1])
    assert [entry.status for entry in list_entries(base)] == ["unreadable", "running", "succeeded"]
    folder.close()
    assert list_entries(base)[1].status == "unfinished"
    RunFolder(folder.path).close()


def list_runs_of(base: Path) -> list[Path]:
    return sorted((base / ".gptoss-flow/runs").iterdir())


def test_a_journal_is_read_once_and_again_when_it_has_grown(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list_entries(base)
    cut = list_runs_of(base)[1]
    with monkeypatch.context() as patched:
        patched.setattr("gptoss_flow.record.index.read_journal", lambda *_: pytest.fail("it was read again"))
        assert list_entries(base) == first
    journal = JournalFile(cut / "events.jsonl")
    for stamped in stamp(a_run())[5:]:
        journal.take(stamped)
    journal.close()
    assert list_entries(base)[1].status == "succeeded"
    shutil.rmtree(cut)
    assert len(list_entries(base)) == 2


def deleted(index: Path) -> None:
    index.unlink()


def corrupt(index: Path) -> None:
    index.write_bytes(b"no database at all" * 1000)


def torn(index: Path) -> None:
    data = index.read_bytes()
    index.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))


def newer(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("ALTER TABLE runs RENAME TO other")
    connection.close()


def another_table(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("ALTER TABLE runs RENAME COLUMN entry TO x")
    connection.close()


def lying(index: Path) -> None:
    with sqlite3.connect(index) as connection:
        connection.execute("""UPDATE runs SET entry = '{"id": "x", "status": "fine", "started_at": 1}'""")
    connection.close()


def a_folder(index: Path) -> None:
    index.unlink()
    index.mkdir()


@pytest.mark.parametrize("harm", [deleted, corrupt, torn, newer, another_table, lying, a_folder])
def test_a_harmed_index_changes_nothing(base: Path, harm: Callable[[Path], None]) -> None:
    list_entries(base)
    index = base / ".gptoss-flow" / INDEX
    harm(index)
    assert list_entries(base) == from_the_folders(base)
    if harm is not a_folder:
        with sqlite3.connect(f"file:{index}?mode=ro", uri=True) as made_anew:
            assert made_anew.execute("SELECT count(*) FROM runs").fetchone() == (3,)
        made_anew.close()


def test_a_locked_index_is_passed_by(base: Path) -> None:
    list_entries(base)
    put_run(base, 4)
    holder = sqlite3.connect(base / ".gptoss-flow" / INDEX, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    assert len(list_entries(base)) == 4
    holder.close()


def test_an_index_that_is_a_link_is_not_followed(base: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (base / ".gptoss-flow" / INDEX).symlink_to(target)
    assert len(list_entries(base)) == 3
    assert target.read_text() == "mine"


def test_the_index_is_for_its_owner_only_and_none_is_made_where_nothing_is_on_record(tmp_path: Path) -> None:
    assert list_entries(tmp_path) == []
    assert not (tmp_path / ".gptoss-flow").exists()
    put_run(tmp_path)
    list_entries(tmp_path)
    assert stat.S_IMODE((tmp_path / ".gptoss-flow" / INDEX).stat().st_mode) == 0o600


def test_a_journal_that_is_no_file_or_not_ours_is_unreadable(tmp_path: Path) -> None:
    runs = [put_run(tmp_path, day) for day in (1, 2, 3)]
    for run in runs:
        (run / "events.jsonl").unlink()
    (runs[0] / "events.jsonl").symlink_to("/etc/passwd")
    (runs[1] / "events.jsonl").mkdir()
    (runs[2] / "events.jsonl").write_text(
        '{"seq":1,"t":1.0,"type":"step_finished","step":"a","outcome":"succeeded","items":3,"fields":{}}\n'
        '{"seq":2,"t":1.0,"type":"generation_finished","step":"a","attempt":1,"text":"","reasoning":"","tokens":[],'
        '"finish_reason":"stop","usage":{"prompt_tokens":"x"},"timings":{}}\n'
    )
    assert [entry.status for entry in list_entries(tmp_path)] == ["unfinished", "unreadable", "unreadable"]
