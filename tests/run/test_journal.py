"""Events get their numbers in one place, and nothing is claimed that is not on record."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Event, Stamped, StepFinished, StepStarted, TokensArrived, Warned
from gptoss_flow.record.journal_file import JournalFile, read_journal
from gptoss_flow.run.journal import Journal
from gptoss_flow.testing.clock import START, ManualClock
from gptoss_flow.testing.event_log import EventLog

PIECE = TokensArrived(step="a", channel="final", text="x", tokens=1)


class Full:
    """A sink whose disk is full after `room` events, or at its close."""

    def __init__(self, room: int, *, closes: bool = True) -> None:
        self.room = room
        self.closes = closes
        self.closed = 0

    def take(self, stamped: Stamped) -> None:
        if self.room == 0:
            raise RecordError("no space left")
        self.room -= 1

    def close(self) -> None:
        self.closed += 1
        if not self.closes:
            raise RecordError("the close failed")


class Broken:
    def take(self, stamped: Stamped) -> None:
        raise ZeroDivisionError

    def close(self) -> None: ...


def test_events_are_numbered_from_one_and_stamped_and_pieces_are_not_counted() -> None:
    log, clock = EventLog(), ManualClock()
    journal = Journal([log], clock)
    journal.emit(StepStarted(step="a", kind="prompt"))
    clock.advance(1.5)
    journal.emit(PIECE)
    journal.emit(StepFinished(step="a", outcome="succeeded"))
    start = START.timestamp()
    assert [(s.seq, s.time - start) for s in log.stamped] == [(1, 0.0), (0, 1.5), (2, 1.5)]
    assert log.types == ["step_started", "tokens_arrived", "step_finished"]


def test_a_resumed_run_goes_on_counting() -> None:
    log = EventLog()
    Journal([log], ManualClock(), first_seq=42).emit(Warned(message="resumed"))
    assert log.stamped[0].seq == 42


def test_sinks_are_told_in_order_and_views_see_only_what_is_on_record() -> None:
    log, disk = EventLog(), Full(1)
    journal = Journal([disk, log], ManualClock())
    journal.emit(Warned(message="recorded"))
    with pytest.raises(RecordError, match="no space left"):
        journal.emit(StepFinished(step="a", outcome="succeeded"))
    assert log.of(StepFinished) == []
    assert [event.message for event in log.of(Warned)] == ["recorded"]


def test_after_a_failed_write_every_emit_fails_with_the_same_error() -> None:
    log, disk = EventLog(), Full(0)
    journal = Journal([disk, log], ManualClock())
    assert journal.failure is None
    with pytest.raises(RecordError) as first:
        journal.emit(Warned(message="x"))
    disk.room = 99
    for event in (Warned(message="y"), PIECE):
        with pytest.raises(RecordError) as again:
            journal.emit(event)
        assert again.value is first.value is journal.failure
    assert log.events == []


def test_any_other_error_of_a_sink_is_a_bug_and_passes_through() -> None:
    journal = Journal([Broken()], ManualClock())
    with pytest.raises(ZeroDivisionError):
        journal.emit(Warned(message="x"))
    assert journal.failure is None


def test_every_sink_is_closed_once_and_an_error_of_the_close_is_told() -> None:
    first, second, log = Full(9, closes=False), Full(9), EventLog()
    journal = Journal([first, second, log], ManualClock())
    with pytest.raises(RecordError, match="the close failed"):
        journal.close()
    journal.close()
    assert (first.closed, second.closed, log.closed) == (1, 1, True)


def test_the_close_of_a_failed_journal_tells_nothing_new() -> None:
    disk = Full(0, closes=False)
    journal = Journal([disk], ManualClock())
    with pytest.raises(RecordError, match="no space left"):
        journal.emit(Warned(message="x"))
    journal.close()
    assert disk.closed == 1
    assert str(journal.failure) == "no space left"


def test_what_was_emitted_is_what_is_read_back_to_the_microsecond(tmp_path: Path) -> None:
    log, clock = EventLog(), ManualClock()
    journal = Journal([JournalFile(tmp_path / "events.jsonl"), log], clock)
    for n in range(50):
        clock.advance(0.123457 * n)
        journal.emit(StepFinished(step=f"s{n}", outcome="succeeded", output=n))
    journal.close()
    assert list(read_journal(tmp_path / "events.jsonl")) == log.stamped
    assert log.for_step("s7") == [StepFinished(step="s7", outcome="succeeded", output=7)]


def test_what_is_taken_out_of_an_event_no_sink_sees() -> None:
    log, view = EventLog(), EventLog()

    def redact(event: Event) -> list[Event]:
        return [Warned(message="masked"), event] if isinstance(event, StepFinished) else [Warned(message="masked")]

    journal = Journal([log, view], ManualClock(), redact=redact)
    journal.emit(Warned(message="secret"))
    journal.emit(StepFinished(step="a", outcome="succeeded"))
    assert log.stamped == view.stamped
    assert [(s.seq, s.event.type) for s in log.stamped] == [(1, "warned"), (2, "warned"), (3, "step_finished")]
    assert "secret" not in repr(log.stamped)
