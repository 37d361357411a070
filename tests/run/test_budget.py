"""What a run has spent, and the limits that its next event would exceed."""

from __future__ import annotations

from typing import Any

from gptoss_flow.events import Event, TrialFinished
from gptoss_flow.plan.plan import Limits
from gptoss_flow.record.state import Tokens, fold
from gptoss_flow.run.budget import Budget, Spent
from tests.record.samples import generation, stamp

USAGE = {"prompt_tokens": 30, "cached_tokens": 10, "completion_tokens": 5}


def trial(number: int, **more: Any) -> TrialFinished:
    return TrialFinished(step="b", attempt=1, number=number, trial={"usage": USAGE, **more})


def test_a_trial_that_is_taken_from_an_earlier_life_is_not_spent_again() -> None:
    before = fold(stamp([trial(0)]))
    budget = Budget(Limits(tokens=50), Spent.of(before))
    assert budget.count(trial(0, reused=True)) is None
    assert budget.tokens == Tokens(20, 10, 5)
    assert budget.count(trial(1)) is None
    assert budget.count(trial(2)) == "limits.tokens: the run may use 50 tokens and has used 75"


def test_a_run_has_spent_what_its_record_adds_up_to() -> None:
    events: list[Event] = [generation("a", "x"), trial(0), trial(1, reused=True), trial(2, usage=None)]
    budget = Budget(Limits(), Spent())
    for event in events:
        budget.count(event)
    assert budget.tokens == fold(stamp(events)).tokens
