"""The fold: what a run's events add up to, live or read back from the record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from gptoss_flow.events import (
    NOT_MADE,
    BenchJudged,
    FellBack,
    GenerationFinished,
    Json,
    OutcomeWord,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    RunStatus,
    ServerChanged,
    ServerState,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TextCut,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    TrialFinished,
    Warned,
)

_ITEM = re.compile(r"(.+)\[(\d{1,9})\]")
_INDEX = re.compile(r"\[\d+\]")
_ROOT_STEP = re.compile(r"[.\[]")
_DEEPEST = 50
"""Items within items within items; a name with more brackets is just a name."""
CLAIMED = 1000
"""How many items a record may claim for each one that it tells of: a result has no more of them."""


@dataclass(slots=True)
class Tokens:
    """Prompt tokens computed, prompt tokens taken from the KV cache, and tokens generated."""

    computed: int = 0
    reused: int = 0
    generated: int = 0

    def add(self, usage: dict[str, int]) -> None:
        prompt, reused, generated = map(
            _number, map(usage.get, ("prompt_tokens", "cached_tokens", "completion_tokens"))
        )
        self.computed += max(0, prompt - reused)
        self.reused += reused
        self.generated += generated


@dataclass(slots=True)
class ServerView:
    state: ServerState
    detail: str
    changed_at: float
    """Seconds since 1970."""
    facts: dict[str, Json]
    """Of the last time that it was ready."""


@dataclass(slots=True)
class StepView:
    """A step, or one item of a fan-out. `outcome` is None until it ended."""

    id: str
    kind: str = ""
    outcome: OutcomeWord | None = None
    output: Json = None
    fields: dict[str, Json] = field(default_factory=dict)
    error: dict[str, Json] | None = None
    reason: str = ""
    started_at: float | None = None
    """Seconds since 1970, like `ended_at`."""
    ended_at: float | None = None
    duration_s: float = 0.0
    attempts: int = 0
    """0: it never started."""
    tokens: Tokens = field(default_factory=Tokens)
    tool_calls: int = 0
    refused_calls: int = 0
    """Calls of its model that were not made."""
    rounds: int = 0
    """Of a `repeat`: how many rounds ended that were not the last."""
    fell_back: dict[str, Json] | None = None
    """The error that its fallback stands in for."""
    key: dict[str, str] = field(default_factory=dict)
    reused: str = ""
    """The run that its result was taken from."""
    redacted: bool = False
    """A secret was taken out of its result."""
    values: dict[str, Json] = field(default_factory=dict)
    """Of an item, what it stands for: a matrix's cell, a mapping's key."""
    trials: dict[int, dict[str, Json]] = field(default_factory=dict)
    """Of a bench, those that ended, by number."""
    judged: BenchJudged | None = None
    """Of a bench whose trials all ended."""
    item_count: int | None = None
    """None for a step that is not a fan-out."""
    items: dict[int, StepView] = field(default_factory=dict)
    """A fan-out's items by index, in the order in which they were first heard of."""


@dataclass(slots=True)
class RunState:
    """Grows by `apply`. Holds plain data only, so that two states can be compared."""

    started: RunStarted | None = None
    finished: RunFinished | None = None
    first_at: float | None = None
    """Seconds since 1970 of the first event, like `last_at`."""
    last_at: float | None = None
    steps: dict[str, StepView] = field(default_factory=dict)
    """Steps by id in plan order, then those that only the events name. Items are in their step."""
    servers: dict[str, ServerView] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    tool_calls: int = 0
    told_tools: dict[str, dict[str, Mapping[str, Json]]] = field(default_factory=dict)
    """What the models of each step, its items together, were told of tools, by name."""
    ran_s: float = 0.0
    """How long the run went on, all its lives together without the time between them."""
    resumed: int = 0
    """How often it was."""
    warnings: list[Warned] = field(default_factory=list)

    @property
    def took_s(self) -> float | None:
        """How long a run that ended was at work, all its lives together; None where it did not."""
        if self.finished is None:
            return None
        return self.ran_s if self.resumed else self.finished.duration_s

    @property
    def status(self) -> RunStatus | None:
        """None while the run goes on, or where its record ends early."""
        return self.finished.status if self.finished else None

    def apply(self, stamped: Stamped) -> None:
        event = stamped.event
        if isinstance(event, TokensArrived):
            return
        if self.first_at is None:
            self.first_at = stamped.time
        elif self.last_at is not None and not isinstance(event, RunResumed):
            self.ran_s += max(0.0, stamped.time - self.last_at)
        self.last_at = stamped.time
        match event:
            case RunStarted():
                self.started, self.finished = event, None
                for step_id, kind in event.steps.items():
                    self.steps.setdefault(step_id, StepView(step_id)).kind = kind
            case RunResumed():
                self.finished = None
                self.resumed += 1
            case ServerChanged():
                before = self.servers.get(event.server)
                facts = event.facts or (before.facts if before else {})
                self.servers[event.server] = ServerView(event.state, event.detail, stamped.time, facts)
            case StepStarted():
                step = self.step(event.step)
                if step.outcome is not None:
                    _begin_again(step)
                step.kind = event.kind
                step.item_count = event.items
                step.values = event.values
                step.attempts = max(step.attempts, event.attempt)
                if step.started_at is None:
                    step.started_at = stamped.time
            case PromptRendered():
                step = self.step(event.step)
                step.attempts = max(step.attempts, event.attempt)
                if event.tools:
                    told = self.told_tools.setdefault(step_of(event.step), {})
                    told |= {str(tool.get("name")): tool for tool in event.tools}
            case GenerationFinished():
                self._spend(event)
            case ToolStarted() if event.permission in NOT_MADE:
                self.step(event.step).refused_calls += 1
            case ToolStarted():
                self.step(event.step).tool_calls += 1
                self.tool_calls += 1
            case ToolFinished() | TextCut():
                pass
            case TrialFinished():
                self.step(event.step).trials[event.number] = event.trial
                self._spend(event)
            case BenchJudged():
                self.step(event.step).judged = event
            case StepRetried():
                step = self.step(event.step)
                step.attempts = max(step.attempts, event.attempt + 1)
            case RoundFinished():
                self.step(event.step).rounds = event.round
            case FellBack():
                self.step(event.step).fell_back = event.error
            case Warned():
                self.warnings.append(event)
            case StepFinished():
                _finish(self.step(event.step), event, stamped.time)
            case RunFinished():
                self.finished = event
            case _:
                assert_never(event)

    def _spend(self, event: GenerationFinished | TrialFinished) -> None:
        used = usage_of(event)
        self.step(event.step).tokens.add(used)
        self.tokens.add(used)

    def step(self, step_id: str) -> StepView:
        """The step or item (`each[3]`) of this id; it is made where it is new."""
        if step_id in self.steps:
            return self.steps[step_id]
        if (item := _ITEM.fullmatch(step_id)) and step_id.count("[") < _DEEPEST:
            parent, index = self.step(item[1]), int(item[2])
            if index not in parent.items:
                parent.items[index] = StepView(step_id, parent.kind)
            return parent.items[index]
        return self.steps.setdefault(step_id, StepView(step_id))


def usage_of(event: GenerationFinished | TrialFinished) -> dict[str, int]:
    """The tokens that it tells of; none of a trial that was taken from an earlier life, which told of them."""
    if isinstance(event, GenerationFinished):
        return event.usage
    usage = event.trial.get("usage")
    return usage if isinstance(usage, dict) and not event.trial.get("reused") else {}


def step_of(unit: str) -> str:
    """The step of an item, and of what is in one: `outer.inner` of `outer[3].inner[0]`."""
    return _INDEX.sub("", unit) if "[" in unit else unit


def _begin_again(step: StepView) -> None:
    """It ended before, in a run that was resumed or in an earlier round of the flow that it is in."""
    step.outcome = step.output = step.error = step.ended_at = step.fell_back = None
    step.reason = step.reused = ""
    step.rounds = 0
    step.fields, step.key, step.items, step.trials, step.judged = {}, {}, {}, {}, None


def _number(value: Json) -> int:
    """0 for what is no number: a record may be damaged, or another's."""
    return value if isinstance(value, int) else 0


def _finish(step: StepView, event: StepFinished, time: float) -> None:
    step.outcome = event.outcome
    step.output = event.output
    step.fields = event.fields
    step.error = event.error
    step.reason = event.reason
    step.key = event.key
    step.reused = event.reused
    step.redacted = event.redacted
    step.duration_s = event.duration_s
    step.ended_at = time
    if event.items is not None:
        step.item_count = event.items
        count = min(event.items, CLAIMED * (1 + len(step.items)))
        items = [step.items.get(index) for index in range(count)]
        names = dict.fromkeys(name for item in items if item for name in item.fields)
        step.output = [item.output if item else None for item in items]
        step.fields = {name: [item.fields.get(name) if item else None for item in items] for name in names}


def fold(events: Iterable[Stamped]) -> RunState:
    """The state after all of these events."""
    state = RunState()
    for stamped in events:
        state.apply(stamped)
    return state


def summary(state: RunState, folder: Path | None) -> dict[str, Json]:
    """The object that `--json` prints. `folder` is the run's; what the events do not tell yet is null.

    `steps` has one entry a step, in plan order, those of a flow inside it behind it, by full id. A fan-out's
    `output` is its items' outputs, null where an item was skipped or failed and the flow went on.
    """
    started, finished = state.started, state.finished
    return {
        "status": state.status,
        "run": {"id": started.run_id if started else None, "dir": str(folder) if folder else None},
        "outputs": finished.outputs if finished else {},
        "steps": {
            step.id: {"outcome": step.outcome, "output": step.output, "error": step.error}
            for step in in_order(state.steps)
        },
        "tokens": {
            "computed": state.tokens.computed,
            "reused": state.tokens.reused,
            "generated": state.tokens.generated,
        },
    }


def in_order(steps: Mapping[str, StepView]) -> list[StepView]:
    """Those of flows inside steps behind the step of the run's own flow that they are in."""
    places = {step_id: place for place, step_id in enumerate(steps)}

    def place(step: StepView) -> int:
        return places.get(_ROOT_STEP.split(step.id, maxsplit=1)[0], places[step.id])

    return sorted(steps.values(), key=place)
