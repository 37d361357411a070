"""The report's fold: the same live and read back, whatever the events and wherever the record ends."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_flow.events import Event, PromptRendered, RunResumed, StepStarted
from gptoss_flow.record.journal_file import JournalFile, read_journal
from gptoss_flow.record.state import fold
from gptoss_flow.ui.report import FORMATS
from gptoss_flow.ui.report.timeline import Scale, draw_timeline
from gptoss_flow.ui.report.view import Call, Said, Turn, fold_view
from tests.record.samples import run_started, stamp
from tests.ui.report.made import done, hostile, ordinary, report_of, resumed, thousand, turn


@pytest.mark.parametrize("make", [ordinary, hostile], ids=lambda make: make.__name__)
def test_a_report_of_the_live_events_is_that_of_the_record(
    make: Callable[[], list[Event]], tmp_path: Path
) -> None:
    live = stamp(make())
    sink = JournalFile(tmp_path / "events.jsonl")
    for stamped in live:
        sink.take(stamped)
    sink.close()
    back = list(read_journal(tmp_path / "events.jsonl"))
    assert fold_view(live) == fold_view(back)
    for draw in FORMATS.values():
        assert draw(report_of(live)) == draw(report_of(back))


def test_turns_of_a_long_conversation_are_held_without_their_tokens(tmp_path: Path) -> None:
    """Its reader makes each turn whole: a small record may stand for very many tokens."""
    sink = JournalFile(tmp_path / "events.jsonl")
    ((asked, _), turns) = turn("a", "x"), 200
    assert isinstance(asked, PromptRendered)
    for stamped in stamp([replace(asked, tokens=[1] * 20_000, turn=number) for number in range(1, turns + 1)]):
        sink.take(stamped)
    sink.close()
    tracemalloc.start()
    try:
        view = fold_view(read_journal(tmp_path / "events.jsonl"))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(view.histories["a"].turns) == turns
    assert held < 2 * 2**20


def test_the_state_is_that_of_the_fold_which_all_others_read() -> None:
    assert fold_view(stamp(ordinary())).state == fold(stamp(ordinary()))


def test_a_record_that_ends_anywhere_is_drawn_in_every_form_and_says_so() -> None:
    whole = ordinary()
    for cut in range(len(whole) + 1):
        report = report_of(whole[:cut])
        for draw in FORMATS.values():
            assert draw(report)
        assert report.status == ("succeeded" if cut == len(whole) else "unfinished")
        assert bool(report.notices) == (cut < len(whole))


def test_items_and_the_steps_of_a_flow_within_stand_in_their_step() -> None:
    events = [
        run_started(steps={"outer": "flow"}),
        *(StepStarted(step=step, kind="flow", items=items) for step, items in (("outer", 2), ("outer[1]", None))),
        *(
            StepStarted(step=f"outer[1].inner{more}", kind="set", items=items)
            for more, items in (("", 1), ("[0]", None))
        ),
        done("outer[1].inner[0]", 1),
    ]
    (outer,) = report_of(events).units
    assert [unit.step.id for unit in outer.walk()] == [
        "outer",
        "outer[1]",
        "outer[1].inner",
        "outer[1].inner[0]",
    ]


def test_a_name_that_goes_endlessly_deep_is_just_a_name() -> None:
    deep = "a" + ".a" * 5000 + "[1]" * 5000
    report = report_of([run_started(), StepStarted(step=deep, kind="set"), done(deep)])
    assert deep in [unit.step.id for root in report.units for unit in root.walk()]


def test_what_happened_in_a_step_is_told_in_order() -> None:
    view = fold_view(stamp(ordinary()))
    kinds = [type(happening) for happening in view.histories["each[1]"].happenings]
    assert kinds == [Turn, Said, Turn]
    assert [type(happening) for happening in view.histories["tree"].happenings] == [Call]
    rounds = [
        happening.event.type for happening in view.histories["polish"].happenings if isinstance(happening, Said)
    ]
    assert rounds == ["round_finished"]


def test_a_turn_without_an_answer_ends_with_its_attempt() -> None:
    first, last = fold_view(stamp(ordinary())).histories["each[1]"].turns
    assert first.answer is None
    assert first.end is not None
    assert first.end <= last.start
    assert last.end is not None


def test_what_an_interruption_cut_short_ends_there_and_the_pause_takes_no_room() -> None:
    view = fold_view(resumed())
    first, second = view.histories["tree"].lives
    assert first.end == resumed()[2].time
    assert second.start == resumed()[4].time
    assert isinstance(view.histories["tree"].happenings[-1].event, RunResumed)  # type: ignore[union-attr]
    scale = Scale(view.stretches)
    assert scale.seconds < 1
    assert 0 <= scale.at(first.start) <= scale.at(first.end) < scale.at(second.start) <= 100
    assert len(scale.pauses) == 1


@pytest.mark.parametrize("make", [ordinary, hostile, thousand, resumed], ids=lambda make: make.__name__)
def test_every_bar_lies_within_the_timeline(make: Callable[[], Sequence[Event]]) -> None:
    timeline = draw_timeline(report_of(make()))
    assert timeline is not None
    rows = [*timeline.servers, *timeline.steps]
    bars = [bar for row in rows for each in (row, *row.more) for bar in each.bars]
    assert bars
    assert all(bar.x >= 0 and bar.width > 0 and bar.x + bar.width <= 100.01 for bar in bars)
    assert all(bar.lane < row.lanes for row in rows for bar in row.bars)


def test_requests_at_once_have_lanes_of_their_own() -> None:
    events: list[Event] = [run_started(steps={"a": "prompt", "b": "prompt"})]
    asked = [turn(step, "x") for step in "ab"]
    events += [asked[0][0], asked[1][0], asked[0][1], asked[1][1]]
    timeline = draw_timeline(report_of(events))
    assert timeline is not None
    assert timeline.servers[0].lanes == 2


def test_a_clock_that_was_set_back_breaks_nothing() -> None:
    before, after = stamp(ordinary()[:10]), stamp(ordinary()[10:], start=1000.0)
    assert FORMATS["html"](report_of([*before, *after]))


def test_a_message_asked_again_is_not_lost() -> None:
    asked = turn("title", "x")[0]
    assert isinstance(asked, PromptRendered)
    report = report_of([run_started(), asked, asked])
    assert "1 message as in the turn before" in FORMATS["html"](report)
