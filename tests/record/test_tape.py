"""What was asked and answered, as a replay is to find it: of each unit in order, of a resumed run what counts."""

from __future__ import annotations

from typing import Any

from gptoss_flow.events import (
    Event,
    FellBack,
    PromptRendered,
    RunResumed,
    StepFinished,
    StepRetried,
    StepStarted,
    TextCut,
    ToolFinished,
    ToolStarted,
)
from gptoss_flow.record.tape import Tape
from tests.record.samples import generation, stamp

ERROR = {"kind": "model", "message": "no", "attempts": 1}


def asked(step: str, text: str) -> list[Event]:
    prompt: dict[str, Any] = {"server": "main", "mode": "chat", "tokens": [1], "params": {}, "attempt": 1}
    return [PromptRendered(step=step, messages=[{"role": "user", "content": text}], **prompt)]


def answered(step: str, text: str) -> list[Event]:
    return [*asked(step, text), generation(step, f"to {text}")]


def started(step: str) -> Event:
    return StepStarted(step=step, kind="prompt")


def ended(step: str, **more: Any) -> Event:
    return StepFinished(step=step, outcome="succeeded", **more)


def resumed() -> Event:
    return RunResumed(version="1", resumed_at="now")


def tape(*events: Event | list[Event]) -> Tape:
    flat = [one for each in events for one in (each if isinstance(each, list) else [each])]
    return Tape.of(stamp(flat))


def texts(tape: Tape, step: str) -> list[str]:
    return [str(each.prompt.messages[0]["content"]) for each in tape.asked[step]]


def test_requests_and_answers_are_in_their_order() -> None:
    found = tape(started("a"), answered("a", "one"), answered("a", "two"), ended("a"))
    assert texts(found, "a") == ["one", "two"]
    assert [each.answer.text for each in found.asked["a"] if each.answer] == ["to one", "to two"]


def test_an_answer_whose_request_is_lost_is_no_answer_to_the_one_before() -> None:
    """A line that cannot be read takes with it the turns that go on from it: their answers stand there alone."""
    found = tape(started("a"), answered("a", "one"), generation("a", "to two", turn=2), ended("a"))
    assert [each.answer.text for each in found.asked["a"] if each.answer] == ["to one"]


def test_an_error_is_of_the_try_that_it_ended_and_says_whether_another_followed() -> None:
    retried = StepRetried(step="a", attempt=1, attempts=3, error=ERROR, delay_s=0.0)
    fell = FellBack(step="a", kind="prompt", error=ERROR)
    failed = StepFinished(step="a", outcome="failed", error=ERROR)
    found = tape(
        started("a"), asked("a", "1"), retried, asked("a", "2"), fell, answered("a", "3"), asked("a", "4"), failed
    )
    assert [(each.error is not None, each.retried) for each in found.asked["a"]] == [
        (True, True),
        (True, False),
        (False, False),
        (True, False),
    ]


def test_calls_of_the_same_number_in_several_rounds_keep_their_own_ends() -> None:
    """A flow that is repeated calls anew from its first attempt on."""

    def round_(result: str) -> list[Event]:
        call = {"step": "x.a", "call_id": "x.a.1", "tool": "t"}
        return [
            started("x.a"),
            ToolStarted(arguments={}, **call),
            ToolFinished(result=result, **call),
            ended("x.a"),
        ]

    found = tape(round_("one"), round_("two"))
    assert [each.end.result for each in found.called["x.a"] if each.end] == ["one", "two"]
    assert list(found.taken["x.a"]) == [None, None]


def test_of_a_resumed_run_counts_what_was_taken_over_and_what_was_done_after() -> None:
    found = tape(
        [started("a"), *answered("a", "kept"), ended("a")],
        [started("b"), *asked("b", "cut off")],
        [started("c"), *answered("c", "changed"), ended("c")],
        resumed(),
        ended("a", reused="run"),
        [started("b"), *answered("b", "whole"), ended("b")],
        [started("c"), *answered("c", "anew"), ended("c")],
    )
    assert [texts(found, step) for step in "abc"] == [["kept"], ["whole"], ["anew"]]
    assert [list(found.taken[step]) for step in "abc"] == [[None], [None], [None]]


def test_a_result_is_carried_over_several_resumes() -> None:
    found = tape(
        [started("a"), *answered("a", "kept"), ended("a")],
        *[[resumed(), ended("a", reused="run", output="to kept")] for _ in range(3)],
    )
    assert texts(found, "a") == ["kept"]


def test_what_came_from_elsewhere_is_taken_as_it_is() -> None:
    taken = ended("a", reused="another", output=7)
    found = tape(taken, [started("b"), *asked("b", "?")], resumed(), taken, ended("b", reused="r"))
    assert [outcome.output for outcome in found.taken["a"] if outcome] == [7]
    assert (texts(found, "b"), [outcome is not None for outcome in found.taken["b"]]) == ([], [True])


def test_cuts_are_found_by_server_text_and_limit() -> None:
    cut = TextCut(step="a", server="main", text_sha256="ab", limit=5, chars=9)
    assert tape(started("a"), cut).cuts == {("main", "ab", 5): 9}
