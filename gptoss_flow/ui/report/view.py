"""The report's fold: a run's state, and beside it what happened in each step, in order, with its times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gptoss_flow.events import (
    FellBack,
    GenerationFinished,
    Json,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    Warned,
)
from gptoss_flow.record.state import RunState, StepView, Tokens
from gptoss_flow.ui.panes import Screen

_INNERMOST = re.compile(r"(.+)(?:\[\d{1,9}\]|\.[^.\[\]]+)", re.DOTALL)
_DEEPEST = 50
"""Steps within steps; a name that goes deeper is just a name."""


@dataclass(slots=True)
class Span:
    """A stretch of time, in seconds since 1970; `end` is None where the record does not tell it."""

    start: float
    end: float | None = None


@dataclass(slots=True)
class Turn(Span):
    """A prompt, without its tokens, and its answer."""

    prompt: PromptRendered = field(kw_only=True)
    answer: GenerationFinished | None = field(default=None, kw_only=True)
    before: list[dict[str, Json]] = field(default_factory=list, kw_only=True)
    """The messages of the step's prompt before it."""


@dataclass(slots=True)
class Call(Span):
    """A tool's call and its end."""

    call: ToolStarted = field(kw_only=True)
    result: ToolFinished | None = field(default=None, kw_only=True)


@dataclass(slots=True)
class Said(Span):
    """What is told of a step beside its turns and calls; it takes no time."""

    event: StepRetried | RoundFinished | FellBack | Warned | RunResumed = field(kw_only=True)


Happening = Turn | Call | Said


@dataclass(slots=True)
class ServerSpan(Span):
    change: ServerChanged = field(kw_only=True)


@dataclass(slots=True)
class History:
    """What happened in a step or item."""

    lives: list[Span] = field(default_factory=list)
    """It runs again where a run is resumed, or where a round of the flow that it is in begins."""
    happenings: list[Happening] = field(default_factory=list)

    @property
    def turns(self) -> list[Turn]:
        return [happening for happening in self.happenings if isinstance(happening, Turn)]


@dataclass(slots=True)
class Unit:
    """A step or an item, with its items or the steps of the flow inside it."""

    step: StepView
    history: History
    is_live: bool = False
    """Whether its run goes on."""
    parts: list[Unit] = field(default_factory=list)

    @property
    def is_fan_out(self) -> bool:
        return self.step.item_count is not None

    def walk(self) -> Iterator[Unit]:
        """This one and all that are in it, in order."""
        yield self
        for part in self.parts:
            yield from part.walk()

    @property
    def turns(self) -> list[Turn]:
        """All that are in it."""
        return [turn for unit in self.walk() for turn in unit.history.turns]

    @property
    def tokens(self) -> Tokens:
        counted = [unit.step.tokens for unit in self.walk()]
        return Tokens(
            computed=sum(tokens.computed for tokens in counted),
            reused=sum(tokens.reused for tokens in counted),
            generated=sum(tokens.generated for tokens in counted),
        )

    @property
    def outcome(self) -> str:
        """One that did not end is running or waiting, or of a run that is over unfinished or unreached."""
        begun, not_begun = ("running", "waiting") if self.is_live else ("unfinished", "unreached")
        return self.step.outcome or (begun if self.step.attempts else not_begun)


@dataclass(slots=True)
class RunView:
    """Grows by `apply`, as `RunState` does."""

    state: RunState = field(default_factory=RunState)
    histories: dict[str, History] = field(default_factory=dict)
    servers: dict[str, list[ServerSpan]] = field(default_factory=dict)
    stretches: list[Span] = field(default_factory=list)
    """When the run was at work: once more each time it was resumed."""
    screen: Screen = field(default_factory=Screen)

    def apply(self, stamped: Stamped) -> None:
        event, time = stamped.event, stamped.time
        if isinstance(event, TokensArrived):
            return
        if not self.stretches or isinstance(event, RunResumed):
            self.stretches.append(Span(time, time))
        self.stretches[-1].end = max(time, self.stretches[-1].end or time)
        self.state.apply(stamped)
        self.screen.apply(event, time)
        match event:
            case StepStarted():
                lives = self._of(event.step).lives
                if not lives or lives[-1].end is not None:
                    lives.append(Span(time))
            case StepFinished():
                history = self._of(event.step)
                _end_open((*history.lives, *history.happenings), time)
            case PromptRendered():
                history = self._of(event.step)
                before = history.turns[-1].prompt.messages if history.turns else []
                asked = replace(event, tokens=[])  # each turn's prompt holds those of all before it
                history.happenings.append(Turn(time, prompt=asked, before=before))
            case GenerationFinished():
                self._answered(event, time)
            case ToolStarted():
                self._of(event.step).happenings.append(Call(time, call=event))
            case ToolFinished():
                self._returned(event, time)
            case StepRetried() | RoundFinished() | FellBack() | Warned() if event.step:
                if not isinstance(event, Warned):
                    _end_open(self._of(event.step).happenings, time)
                self._of(event.step).happenings.append(Said(time, time, event=event))
            case ServerChanged():
                self._changed(event, time)
            case RunResumed():
                self._cut_short(event, time)
            case _:
                pass

    def _of(self, step: str) -> History:
        return self.histories.setdefault(step, History())

    def _answered(self, event: GenerationFinished, time: float) -> None:
        turns = self._of(event.step).turns
        if turns and turns[-1].answer is None:
            turns[-1].answer, turns[-1].end = event, time

    def _returned(self, event: ToolFinished, time: float) -> None:
        for happening in reversed(self._of(event.step).happenings):
            if isinstance(happening, Call) and happening.call.call_id == event.call_id:
                happening.result, happening.end = event, time
                return

    def _changed(self, event: ServerChanged, time: float) -> None:
        spans = self.servers.setdefault(event.server, [])
        if spans:
            spans[-1].end = time
        spans.append(ServerSpan(time, change=event))

    def _cut_short(self, event: RunResumed, time: float) -> None:
        """What was under way when the process ended did not go on."""
        ended = self.stretches[-2].end if len(self.stretches) > 1 else time
        for history in self.histories.values():
            if _end_open((*history.lives, *history.happenings), ended or time):
                history.happenings.append(Said(time, time, event=event))
        for spans in self.servers.values():
            _end_open(spans, ended or time)

    def units(self, *, is_live: bool = False) -> list[Unit]:
        """The steps of the run's flow in plan order, each with all that is in it."""
        found: dict[str, Unit] = {}
        roots: list[Unit] = []
        planned = self.state.started.steps if self.state.started else {}

        def place(step: StepView) -> None:
            unit = found[step.id] = Unit(step, self.histories.get(step.id, History()), is_live)
            inside = None if step.id in planned or _depth(step.id) > _DEEPEST else _INNERMOST.fullmatch(step.id)
            parent = found.get(inside[1]) if inside else None
            (parent.parts if parent else roots).append(unit)
            for index in sorted(step.items):
                place(step.items[index])

        # A flow's steps behind the item that they are in, which is found in the step before it.
        for step in sorted(self.state.steps.values(), key=lambda step: _depth(step.id)):
            place(step)
        return roots


def _end_open(spans: Iterable[Span], time: float) -> bool:
    """Whether there was one."""
    found = [span for span in spans if span.end is None]
    for span in found:
        span.end = time
    return bool(found)


def _depth(step_id: str) -> int:
    return step_id.count(".") + step_id.count("[")


@dataclass(frozen=True, slots=True)
class Report:
    """A run, and what its events do not tell."""

    view: RunView
    units: Sequence[Unit]
    status: str
    """As `show` has it: also `running` and `unfinished`."""
    folder: str
    """Of the record."""
    damage: Mapping[str, Json]
    """As `show --json` has it: lines, first, unknown_types, unknown_keys."""
    facts: Mapping[str, Json]
    """What `show --json` prints."""

    @property
    def started(self) -> RunStarted | None:
        return self.view.state.started

    @property
    def finished(self) -> RunFinished | None:
        return self.view.state.finished

    @property
    def name(self) -> str:
        """Of the flow."""
        return self.started.flow if self.started and self.started.flow else "a run"

    @property
    def notices(self) -> list[str]:
        """What a reader must know of this record: that it is no whole one."""
        said = {
            "running": "The run is still going on: this is what was on record when the report was made.",
            "unfinished": "The record ends before the run does: its process was killed, or could write no more.",
        }
        lines = [said[self.status]] if self.status in said else []
        if self.started is None:
            lines.append("The record does not tell how the run began.")
        if damaged := self.damage["lines"]:
            lines.append(
                f"{damaged} line{'s' * (damaged > 1)} of the record could not be read; they are left out."
            )
        if self.damage["unknown_types"] or self.damage["unknown_keys"]:
            lines.append("A newer version of gptoss-flow wrote more into this record than is shown here.")
        return lines


def fold_view(events: Iterable[Stamped]) -> RunView:
    view = RunView()
    for stamped in events:
        view.apply(stamped)
    return view


def warnings_of_run(view: RunView) -> list[str]:
    return [warned.message for warned in view.state.warnings if not warned.step]
