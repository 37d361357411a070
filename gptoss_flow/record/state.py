"""The fold: what a run's events add up to, live or read back from the record."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from gptoss_flow.events import (
    GenerationFinished,
    Json,
    OutcomeWord,
    PromptRendered,
    RunFinished,
    RunStarted,
    RunStatus,
    ServerChanged,
    ServerState,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    Warned,
)

_ITEM = re.compile(r"(.+)\[(\d+)\]")


@dataclass(slots=True)
class Tokens:
    """Prompt tokens computed, prompt tokens taken from the KV cache, and tokens generated."""

    computed: int = 0
    reused: int = 0
    generated: int = 0

    def add(self, usage: dict[str, int]) -> None:
        reused = usage.get("cached_tokens", 0)
        self.computed += max(0, usage.get("prompt_tokens", 0) - reused)
        self.reused += reused
        self.generated += usage.get("completion_tokens", 0)


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
    warnings: list[Warned] = field(default_factory=list)

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
        self.last_at = stamped.time
        match event:
            case RunStarted():
                self.started, self.finished = event, None
                for step_id, kind in event.steps.items():
                    self.steps.setdefault(step_id, StepView(step_id)).kind = kind
            case ServerChanged():
                before = self.servers.get(event.server)
                facts = event.facts or (before.facts if before else {})
                self.servers[event.server] = ServerView(event.state, event.detail, stamped.time, facts)
            case StepStarted():
                step = self.step(event.step)
                step.kind = event.kind
                step.item_count = event.items
                step.attempts = max(step.attempts, event.attempt)
                if step.started_at is None:
                    step.started_at = stamped.time
            case PromptRendered():
                step = self.step(event.step)
                step.attempts = max(step.attempts, event.attempt)
            case GenerationFinished():
                self.step(event.step).tokens.add(event.usage)
                self.tokens.add(event.usage)
            case ToolStarted():
                self.step(event.step).tool_calls += 1
            case ToolFinished():
                pass
            case StepRetried():
                step = self.step(event.step)
                step.attempts = max(step.attempts, event.attempt + 1)
            case Warned():
                self.warnings.append(event)
            case StepFinished():
                _finish(self.step(event.step), event, stamped.time)
            case RunFinished():
                self.finished = event
            case _:
                assert_never(event)

    def step(self, step_id: str) -> StepView:
        """The step or item (`each[3]`) of this id; it is made where it is new."""
        if step_id in self.steps:
            return self.steps[step_id]
        if item := _ITEM.fullmatch(step_id):
            parent, index = self.step(item[1]), int(item[2])
            if index not in parent.items:
                parent.items[index] = StepView(step_id, parent.kind)
            return parent.items[index]
        return self.steps.setdefault(step_id, StepView(step_id))


def _finish(step: StepView, event: StepFinished, time: float) -> None:
    step.outcome = event.outcome
    step.output = event.output
    step.fields = event.fields
    step.error = event.error
    step.reason = event.reason
    step.duration_s = event.duration_s
    step.ended_at = time
    if event.items is not None:
        step.item_count = event.items
        items = [step.items.get(index) for index in range(event.items)]
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

    `steps` has one entry a step, in plan order; a fan-out's `output` is its items' outputs, null where an item
    was skipped or failed and the flow went on.
    """
    started, finished = state.started, state.finished
    return {
        "status": state.status,
        "run": {"id": started.run_id if started else None, "dir": str(folder) if folder else None},
        "outputs": finished.outputs if finished else {},
        "steps": {
            step.id: {"outcome": step.outcome, "output": step.output, "error": step.error}
            for step in state.steps.values()
        },
        "tokens": {
            "computed": state.tokens.computed,
            "reused": state.tokens.reused,
            "generated": state.tokens.generated,
        },
    }
