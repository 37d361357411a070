"""The journal on disk: what a crash, a full disk and a hostile text may do to it, and what they may not."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.events import Event, PromptRendered, Stamped, StepFinished, StepStarted, TokensArrived, Warned
from gptoss_flow.record.codec import encode
from gptoss_flow.record.journal_file import KEPT_DAMAGE, JournalDamage, JournalFile, read_journal
from tests.conftest import need
from tests.record.samples import START, a_run, any_event, generation, run_started, stamp

HOSTILE = [
    "one\ntwo\r\nthree",
    "\u2028\u2029\x85\x0b\x0c\x1c",
    '"}\n{"seq":99,"t":1.0,"type":"warned","message":"forged","step":""}\n',
    "a\0b",
    "\x1b]0;title\x07\x1b[2J",
    "\ud800",
    '","crc":"00000000"}',
]


def written(path: Path, events: list[Event]) -> list[Stamped]:
    stamped = stamp(events)
    journal = JournalFile(path)
    for one in stamped:
        journal.take(one)
    journal.close()
    return stamped


def read(path: Path) -> tuple[list[Stamped], JournalDamage]:
    damage = JournalDamage()
    return list(read_journal(path, damage)), damage


@pytest.fixture
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the syncs of data; they still happen."""
    seen: list[int] = []
    real = os.fdatasync

    def counted(descriptor: int) -> None:
        seen.append(descriptor)
        real(descriptor)

    monkeypatch.setattr("gptoss_flow.record.append._datasync", counted)
    return seen


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stamped = written(path, a_run())
    assert read(path) == (stamped, JournalDamage())
    assert len(path.read_bytes().split(b"\n")) == len(stamped) + 1


def test_streamed_pieces_are_not_recorded(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = JournalFile(path)
    journal.take(Stamped(0, START, TokensArrived(step="a", channel="final", text="x", tokens=1)))
    journal.close()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_stays_one_record(tmp_path: Path, text: str) -> None:
    path = tmp_path / "events.jsonl"
    stamped = written(path, a_run(text))
    assert read(path) == (stamped, JournalDamage())
    assert len(path.read_bytes().splitlines()) == len(stamped)


def happened(event: Event) -> Event:
    """As it reaches a journal, whose lines alone may go on from each other."""
    return replace(event, since={}) if isinstance(event, PromptRendered) else event


@given(st.lists(any_event.map(happened), min_size=1, max_size=5), st.data())
def test_any_cut_of_a_record_is_readable(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "events.jsonl"
    whole = b"".join(map(encode, stamp(events)))
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    events_read, damage = read(path)
    complete = sum(cut >= end for end in _record_ends(whole))
    assert len(events_read) == complete
    assert damage.count == (
        cut not in (0, *(end for end in _record_ends(whole)), *(end + 1 for end in _record_ends(whole)))
    )


def _record_ends(whole: bytes) -> list[int]:
    """Where each record is whole but for its newline."""
    return [index for index, byte in enumerate(whole) if byte == 10]


@pytest.mark.parametrize("last", [StepFinished(step="a", outcome="succeeded", output="x"), generation("a", "é")])
def test_a_torn_last_record_is_skipped_counted_and_appended_after(tmp_path: Path, last: Event) -> None:
    path = tmp_path / "events.jsonl"
    before = stamp([run_started(), StepStarted(step="a", kind="set")])
    kept = b"".join(map(encode, before))
    record = encode(Stamped(3, START + 1, last))
    after = Stamped(4, START + 2, Warned(message="the line before this one is torn"))
    for cut in range(1, len(record) - 1):
        path.write_bytes(kept + record[:cut])
        events, damage = read(path)
        assert (events, damage.count) == (before, 1)
        assert (damage.lines[0].line, damage.lines[0].kind) == (3, "torn")

        journal = JournalFile(path)
        assert journal.torn_bytes == cut
        journal.take(after)
        journal.close()
        events, damage = read(path)
        assert (events, damage.count) == ([*before, after], 1)
        assert damage.lines[0].line == 3
        assert path.read_bytes().startswith(kept + record[:cut] + b"\n")


def test_a_last_record_that_only_lacks_its_newline_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stamped = stamp([run_started(), StepStarted(step="a", kind="set")])
    path.write_bytes(b"".join(map(encode, stamped))[:-1])
    assert read(path) == (stamped, JournalDamage())
    JournalFile(path).close()
    assert read(path) == (stamped, JournalDamage())


@pytest.mark.parametrize("nul", [1, 4096, 100_000])
def test_a_tail_of_nul_bytes_is_a_torn_line(tmp_path: Path, nul: int) -> None:
    path = tmp_path / "events.jsonl"
    stamped = stamp([run_started(), StepStarted(step="a", kind="set")])
    for tail in (b"\0" * nul, encode(stamped[1])[:20] + b"\0" * nul):
        path.write_bytes(b"".join(map(encode, stamped)) + tail)
        events, damage = read(path)
        assert (events, damage.count, damage.lines[0].kind) == (stamped, 1, "torn")
        journal = JournalFile(path)
        assert journal.torn_bytes == len(tail)
        journal.close()
        events, damage = read(path)
        assert (events, damage.count) == (stamped, 1)
        assert "NUL" in str(damage.lines[0])


def test_a_flipped_bit_in_the_middle_costs_one_record_and_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    stamped = written(path, a_run())
    lines = path.read_bytes().splitlines(keepends=True)
    number = next(n for n, s in enumerate(stamped) if s.event.boundary and n > 5)
    lines[number] = lines[number].replace(b'"step"', b'"stap"', 1)
    path.write_bytes(b"".join(lines))
    events, damage = read(path)
    assert events == stamped[:number] + stamped[number + 1 :]
    assert [(d.line, d.kind) for d in damage.lines] == [(number + 1, "crc")]
    assert str(damage.lines[0]).startswith(f"line {number + 1}: ")


def test_what_a_newer_version_wrote_is_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        b'{"seq":1,"t":1.0,"type":"step_paused"}\n{"seq":2,"t":2.0,"type":"warned","message":"x","mood":1}\n'
    )
    events, damage = read(path)
    assert events == [Stamped(2, 2.0, Warned(message="x"))]
    assert (damage.count, dict(damage.unknown_types), dict(damage.unknown_keys)) == (
        0,
        {"step_paused": 1},
        {"warned.mood": 1},
    )


def test_a_file_of_rubbish_is_read_in_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"rubbish\n" * 1000)
    events, damage = read(path)
    assert (events, damage.count, len(damage.lines)) == ([], 1000, KEPT_DAMAGE)


def test_a_journal_that_is_not_there_is_a_record_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot read .*events\.jsonl: No such file") as seen:
        read(tmp_path / "events.jsonl")
    assert seen.value.exit_code is ExitCode.RECORD


# --- what reaches stable storage, and when ------------------------------------------------------------------


def test_a_boundary_is_synced_at_once(tmp_path: Path, syncs: list[int]) -> None:
    journal = JournalFile(tmp_path / "events.jsonl")
    journal.take(Stamped(1, START, run_started()))
    assert len(syncs) == 1
    journal.take(Stamped(2, START, StepStarted(step="a", kind="prompt")))
    assert len(syncs) == 1
    journal.take(Stamped(3, START, generation("a", "x")))
    assert len(syncs) == 2
    journal.close()
    assert len(syncs) == 2


def test_other_records_wait_fifty_milliseconds_at_most(tmp_path: Path, syncs: list[int]) -> None:
    journal = JournalFile(tmp_path / "events.jsonl")
    for n, milliseconds in enumerate((0, 10, 49, 50, 60, 99, 111), start=1):
        journal.take(Stamped(n, START + milliseconds / 1000, StepFinished(step="a", outcome="succeeded")))
        assert len(syncs) == (0 if milliseconds < 50 else 1 if milliseconds < 110 else 2)
    journal.close()
    assert len(syncs) == 2


def test_what_waits_is_synced_on_demand_and_at_the_close(tmp_path: Path, syncs: list[int]) -> None:
    journal = JournalFile(tmp_path / "events.jsonl")
    journal.take(Stamped(1, START, StepFinished(step="a", outcome="succeeded")))
    journal.sync()
    journal.sync()
    assert len(syncs) == 1
    journal.take(Stamped(2, START, StepFinished(step="b", outcome="succeeded")))
    journal.close()
    journal.close()
    assert len(syncs) == 2


def test_a_clock_that_was_set_back_keeps_nothing_waiting(tmp_path: Path, syncs: list[int]) -> None:
    journal = JournalFile(tmp_path / "events.jsonl")
    journal.take(Stamped(1, START, StepFinished(step="a", outcome="succeeded")))
    journal.take(Stamped(2, START - 3600, StepFinished(step="b", outcome="succeeded")))
    assert len(syncs) == 1
    journal.close()


# --- trouble with the disk ----------------------------------------------------------------------------------


def test_a_failed_sync_is_never_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def failing(descriptor: int) -> None:
        tries.append(descriptor)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("gptoss_flow.record.append._datasync", failing)
    path = tmp_path / "events.jsonl"
    journal = JournalFile(path)
    with pytest.raises(RecordError, match=r"cannot sync .*events\.jsonl: Input/output error"):
        journal.take(Stamped(1, START, run_started()))
    size = path.stat().st_size
    for attempt in (journal.sync, journal.close, journal.close):
        attempt()
    with pytest.raises(RecordError):
        journal.take(Stamped(2, START, run_started()))
    assert len(tries) == 1
    assert path.stat().st_size == size


def test_a_short_write_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr("os.write", lambda descriptor, data: real(descriptor, data[:7]))
    path = tmp_path / "events.jsonl"
    stamped = written(path, a_run())
    assert read(path) == (stamped, JournalDamage())


def fill(path: Path) -> tuple[int, RecordError]:
    """Write steps until the record cannot be written: how many `take`s returned, and the error."""
    journal = JournalFile(path)
    returned = 0
    try:
        for seq in range(1, 100_000):
            journal.take(Stamped(seq, START + seq, StepFinished(step="a", outcome="succeeded", output="x" * 700)))
            returned += 1
    except RecordError as error:
        with pytest.raises(RecordError):
            journal.take(Stamped(returned + 2, START, run_started()))
        journal.close()
        return returned, error
    raise AssertionError("the disk never filled up")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    need("mount")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True)
    need("the right to mount", found=mounted.returncode == 0)
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_stops_the_record_and_leaves_it_readable(small_disk: Path) -> None:
    path = small_disk / "events.jsonl"
    returned, error = fill(path)
    assert "No space left on device; free some space" in str(error)
    events, damage = read(path)
    assert len(events) == returned
    assert damage.count <= 1


def test_the_limit_on_file_sizes_stops_the_record_and_leaves_it_readable(tmp_path: Path) -> None:
    """In a child process: the limit is a process's own, and cuts a write short before it fails the next one."""
    path = tmp_path / "events.jsonl"
    child = subprocess.run(
        [sys.executable, "-c", f"from tests.record.test_journal_file import limited; limited({str(path)!r})"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert child.returncode == 0, child.stderr
    returned, _, message = child.stdout.partition(" ")
    assert "File too large" in message
    assert "ulimit -f" in message
    events, damage = read(path)
    assert len(events) == int(returned)
    assert [line.kind for line in damage.lines] == ["torn"]
    assert path.stat().st_size == 20_000


def limited(path: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    returned, error = fill(Path(path))
    print(returned, error)


def test_a_record_that_was_deleted_under_the_run_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = JournalFile(path)
    journal.take(Stamped(1, START, run_started()))
    path.unlink()
    with pytest.raises(RecordError, match="was deleted"):
        journal.take(Stamped(2, START, generation("a", "x")))
    journal.close()


def test_the_file_is_private_whatever_the_umask_and_whatever_it_was(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path, wide = tmp_path / "events.jsonl", tmp_path / "wide.jsonl"
        wide.touch(0o666)
        for one in (path, wide):
            JournalFile(one).close()
            assert stat.S_IMODE(one.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    (tmp_path / "events.jsonl").symlink_to(target)
    with pytest.raises(RecordError, match="symbolic link"):
        JournalFile(tmp_path / "events.jsonl")
    assert target.read_text() == "precious"


def test_the_record_is_not_handed_to_child_processes(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = JournalFile(path)
    child = subprocess.run(
        [sys.executable, "-c", OPEN_INODES], capture_output=True, text=True, close_fds=False, check=True
    )
    journal.close()
    assert str(path.stat().st_ino) not in child.stdout.split()


OPEN_INODES = """
import os
for descriptor in range(3, 256):
    try:
        print(os.fstat(descriptor).st_ino)
    except OSError:
        pass
"""
