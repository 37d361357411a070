"""What a record says was asked and answered, ready to be asked again: the requests and calls of each unit."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from gptoss_flow.errors import ErrorKind, StepError
from gptoss_flow.events import (
    NOT_MADE,
    FellBack,
    GenerationFinished,
    Json,
    Outcome,
    Permission,
    PromptRendered,
    RunResumed,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TextCut,
    ToolFinished,
    ToolStarted,
)

CANCELLED = "cancelled"
BY_A_PERSON = ("approved", "declined", "unasked")


@dataclass(slots=True)
class Asked:
    """A request of a model, its answer, and the error that ended that try, where one did."""

    prompt: PromptRendered
    answer: GenerationFinished | None = None
    error: Mapping[str, Json] | None = None
    retried: bool = False
    """Whether another try followed."""


@dataclass(slots=True)
class Called:
    """A call of a tool, its end, and the error that ended that try of its step, where one did."""

    call: ToolStarted
    end: ToolFinished | None = None
    error: Mapping[str, Json] | None = None
    retried: bool = False


def failure_of(act: Asked | Called) -> StepError:
    """What ended a try, as it was recorded."""
    error = act.error or {}
    kind = cast("ErrorKind", error.get("kind", "model"))
    return StepError(kind, str(error.get("message", "")), retryable=act.retried)


@dataclass(slots=True)
class _Performance:
    """One time that a unit ran from its start to its end."""

    asked: list[Asked] = field(default_factory=list)
    called: list[Called] = field(default_factory=list)
    acts: list[Asked | Called] = field(default_factory=list)
    """Both, in their order."""
    decided: list[tuple[str, Permission]] = field(default_factory=list)
    succeeded: bool = False
    taken: Outcome | None = None
    """It did not run: this is the result that was taken for its own."""

    def failed(self, error: Mapping[str, Json], *, retried: bool) -> None:
        if self.acts:
            self.acts[-1].error, self.acts[-1].retried = error, retried
        for called in self.called:
            if called.error is None and (called.end is None or called.end.error == CANCELLED):
                called.error, called.retried = error, retried
        for act in reversed(self.acts):  # of the last turn: the call that ended it need not be its last
            if isinstance(act, Asked):
                break
            if act.error is None and act.end is not None and act.end.error == error.get("message"):
                act.error, act.retried = error, retried


@dataclass(slots=True)
class Tape:
    """Requests and calls by unit, each in their order."""

    asked: dict[str, deque[Asked]] = field(default_factory=lambda: defaultdict(deque))
    called: dict[str, deque[Called]] = field(default_factory=lambda: defaultdict(deque))
    """Those that were made. Calls of one turn of a model are made at once: they are told apart by their ids."""
    decided: dict[str, deque[Permission]] = field(default_factory=lambda: defaultdict(deque))
    """By the id of a call that a person was to decide, or in place of one: what became of it, each time."""
    taken: dict[str, deque[Outcome | None]] = field(default_factory=lambda: defaultdict(deque))
    """Of each time that a unit's turn came: the result that was taken from elsewhere; None: it ran."""
    cuts: dict[tuple[str, str, int], int] = field(default_factory=dict)
    """Server, hash of a text and limit in tokens: the number of characters that was kept."""

    @classmethod
    def of(cls, events: Iterable[Stamped]) -> Tape:
        """Of a run that was resumed: as if it had run from its start to its end at once."""
        tape, reader = cls(), _Reader()
        for stamped in events:
            if isinstance(cut := stamped.event, TextCut):
                tape.cuts[cut.server, cut.text_sha256, cut.limit] = cut.chars
            reader.take(stamped)
        for unit, performances in reader.units.items():
            for each in performances:
                tape.asked[unit] += each.asked
                tape.called[unit] += each.called
                for call_id, permission in each.decided:
                    tape.decided[call_id].append(permission)
                tape.taken[unit].append(each.taken)
        return tape


class _Reader:
    def __init__(self) -> None:
        self.units: dict[str, list[_Performance]] = defaultdict(list)
        self._before: dict[str, _Performance] = {}
        """Of the lives before the last `resume`: how each unit came to the result that it had then."""

    def take(self, stamped: Stamped) -> None:
        match stamped.event:
            case StepStarted(step=unit):
                self.units[unit].append(_Performance())
            case PromptRendered(step=unit) as prompt:
                asked = Asked(prompt)
                self._now(unit).asked.append(asked)
                self._now(unit).acts.append(asked)
            case GenerationFinished(step=unit) as answer:
                for asked in self._now(unit).asked[-1:]:
                    if (asked.prompt.attempt, asked.prompt.turn) == (answer.attempt, answer.turn):
                        asked.answer = answer  # else its own request could not be read
            case ToolStarted(step=unit) as call:
                if call.permission in BY_A_PERSON:
                    self._now(unit).decided.append((call.call_id, call.permission))
                if call.permission in NOT_MADE:
                    return
                called = Called(call)
                self._now(unit).called.append(called)
                self._now(unit).acts.append(called)
            case ToolFinished(step=unit, call_id=call_id) as end:
                for called in self._now(unit).called:
                    if called.call.call_id == call_id:
                        called.end = end
            case StepRetried(step=unit, error=error):
                self._now(unit).failed(error, retried=True)
            case FellBack(step=unit, error=error):
                self._now(unit).failed(error, retried=False)
            case StepFinished(step=unit) as finished:
                self._finished(unit, finished)
            case RunResumed():
                # What had not succeeded runs again, and so may what had: only what is taken over counts.
                for unit, performances in self.units.items():
                    if performances and performances[-1].succeeded:
                        self._before[unit] = performances[-1]
                self.units.clear()
            case _:
                pass

    def _now(self, unit: str) -> _Performance:
        if not self.units[unit]:
            self.units[unit].append(_Performance())
        return self.units[unit][-1]

    def _finished(self, unit: str, end: StepFinished) -> None:
        if end.reused:
            taken = _Performance(succeeded=True, taken=Outcome("succeeded", end.output, end.fields))
            self.units[unit].append(self._before.pop(unit, taken))
        elif self.units[unit]:
            performance = self._now(unit)
            performance.succeeded = end.outcome == "succeeded"
            if end.error is not None:
                performance.failed(end.error, retried=False)
