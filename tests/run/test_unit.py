"""One unit to its single end: rounds, tries, their numbers, time limits, and what each try is told of the last."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.events import (
    FellBack,
    GenerationFinished,
    PromptRendered,
    RoundFinished,
    StepRetried,
    StepStarted,
    ToolStarted,
)
from tests.run.running import STEPS, Run

BROKEN = {"error": {"kind": "model", "message": "no answer"}}
BUSY = {"error": {"kind": "server", "message": "busy"}}


def attempts(run: Run) -> list[int]:
    return [event.attempt for event in run.log.of(PromptRendered)]


def test_attempts_count_over_rounds_and_into_the_fallback() -> None:
    run = Run(
        STEPS + "  a:\n    repeat: {max: 3, until: false}\n    retry: {attempts: 2, backoff: 1ms}\n"
        "    prompt: {user: hi}\n    on_error: {fallback: {prompt: {user: '${{ error.attempts }} tries'}}}\n",
        {"default": "fine", "replies": [{"contains": "hi", "times": 1, **BROKEN}]},
    )
    assert run.go().exit_code is ExitCode.OK
    assert attempts(run) == [1, 2, 3, 4, 5]
    assert [event.round for event in run.log.of(RoundFinished)] == [1, 2]
    assert [(event.attempt, event.attempts) for event in run.log.of(StepRetried)] == [(1, 2)]
    assert run.log.of(PromptRendered)[-1].messages[0]["content"] == "4 tries"
    (fell,) = run.log.of(FellBack)
    assert fell.error["message"] == "not so after 3 rounds: false"


def test_a_round_has_tries_of_its_own() -> None:
    run = Run(
        STEPS
        + "  a: {repeat: {max: 3, until: loop.last}, retry: {attempts: 2, backoff: 1ms}, prompt: {user: hi}}\n",
        {
            "default": "fine",
            "replies": [{"times": 1, **BROKEN}, {"text": "one", "times": 1}, {"times": 1, **BROKEN}],
        },
    )
    assert run.go().exit_code is ExitCode.OK
    assert attempts(run) == [1, 2, 3, 4, 5]
    assert [(event.attempt, event.attempts) for event in run.log.of(StepRetried)] == [(1, 2), (3, 4)]


def test_the_last_rounds_output_is_the_steps_and_each_sees_its_number() -> None:
    run = Run(STEPS + "  a: {repeat: {max: 5, until: output.n == 3}, set: {n: '${{ loop.index }}'}}\n")
    assert run.go().outputs == {"a": {"n": 3}}
    assert [event.output for event in run.log.of(RoundFinished)] == [{"n": 1}, {"n": 2}]
    assert len(run.log.of(StepStarted)) == 1


def test_a_time_limit_holds_for_all_rounds_together() -> None:
    run = Run(
        STEPS + "  a: {timeout: 50ms, repeat: {max: 1000, until: false, delay: 5ms}, set: {n: 1}}\n",
    )
    assert run.go().exit_code is ExitCode.FAILED
    error = run.end("a").error
    assert error is not None
    assert (error["kind"], error["message"]) == ("timeout", "took longer than its timeout of 0.05 s")
    assert error["attempts"] == len(run.log.of(RoundFinished)) + 1 < 12


def test_a_time_limit_holds_for_all_tries_together() -> None:
    run = Run(
        STEPS + "  a: {timeout: 50ms, retry: {attempts: 100, backoff: 20ms, jitter: false}, prompt: {user: hi}}\n",
        {"replies": [BUSY]},
    )
    run.go()
    assert (run.end("a").error or {})["kind"] == "timeout"
    assert 1 <= len(run.log.of(StepRetried)) <= 3


def test_only_errors_of_the_named_kinds_are_tried_again() -> None:
    run = Run(
        STEPS + "  a: {retry: {attempts: 5, backoff: 1ms, on: [server]}, prompt: {user: hi}}\n",
        {"replies": [{"times": 2, **BUSY}, BROKEN]},
    )
    run.go()
    assert attempts(run) == [1, 2, 3]
    assert (run.end("a").error or {})["attempts"] == 3


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        (
            "{user: hi}",
            [("user", "hi"), ("assistant", "bad"), ("user", "The answer was not accepted: ")],
        ),
    ],
)
def test_the_next_try_is_shown_the_answer_and_the_error(prompt: str, asked: list[tuple[str, str]]) -> None:
    run = Run(
        STEPS + f"  a: {{retry: {{attempts: 2, backoff: 1ms, feedback: true}}, expect: [output == 'good'], "
        f"prompt: {prompt}}}\n",
        {"replies": [{"text": "bad", "times": 1}, {"text": "good"}]},
    )
    assert run.go().exit_code is ExitCode.OK
    messages = run.log.of(PromptRendered)[1].messages
    assert [message["role"] for message in messages] == [role for role, _ in asked]
    assert [message["content"] for message in messages[:2]] == [text for _, text in asked[:2]]
    assert "output == 'good'" in messages[2]["content"]


def test_without_feedback_a_try_knows_nothing_of_the_last() -> None:
    run = Run(
        STEPS + "  a: {retry: {attempts: 2, backoff: 1ms}, expect: [output == 'good'], prompt: {user: hi}}\n",
        {"replies": [{"text": "bad", "times": 1}, {"text": "good"}]},
    )
    run.go()
    assert [len(event.messages) for event in run.log.of(PromptRendered)] == [1, 1]
    assert [event.text for event in run.log.of(GenerationFinished)] == ["bad", "good"]


def test_a_record_that_fails_as_a_flow_is_entered_ends_the_run() -> None:
    """The loop never comes to open that flow: nobody may wait for it."""

    def when(run: Run, event: Any) -> None:
        if isinstance(event, ToolStarted):
            raise RecordError("no room")

    run = Run(
        STEPS + "  a: {tool: list_files}\n  b: {flow: ./inner.yaml}\n",
        files={"inner.yaml": STEPS + "  i: {set: {x: 1}}\n"},
        when=when,
    )
    assert run.go().exit_code is ExitCode.RECORD
