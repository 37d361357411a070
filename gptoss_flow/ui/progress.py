"""What a run says while it runs: one plain line for each thing that matters, on standard error."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TextIO, assert_never

from gptoss_flow.escape import one_line
from gptoss_flow.events import (
    BenchJudged,
    FellBack,
    GenerationFinished,
    Json,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    RunStarted,
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
from gptoss_flow.fields import json_text
from gptoss_flow.ui.bench import told_trial, told_verdicts
from gptoss_flow.words import count

LONGEST_CALL = 120
"""Characters of a call's arguments."""


def shown_as(step: str) -> str:
    """The step that has a line of its own: `each` for `each[3]` and for all that runs within that item."""
    return step.partition("[")[0]


def _within(step: str) -> Iterator[str]:
    """The step that is shown for this one, and those whose flows it is in: `a.b` is within `a.b` and `a`."""
    name = shown_as(step)
    while name:
        yield name
        name = name.rpartition(".")[0]


@dataclass(slots=True)
class Usage:
    """Tokens of a step, its items and attempts together, and the seconds spent to generate them."""

    prompt: int = 0
    reused: int = 0
    generated: int = 0
    decode_s: float = 0.0

    def add(self, event: GenerationFinished) -> None:
        generated = event.usage.get("completion_tokens", 0)
        self.prompt += event.usage.get("prompt_tokens", 0)
        self.reused += event.usage.get("cached_tokens", 0)
        self.generated += generated
        if rate := event.timings.get("decode_tps"):
            self.decode_s += generated / rate

    def __str__(self) -> str:
        prompt = f"{self.prompt} prompt tokens" + (f" ({self.reused} reused)" if self.reused else "")
        rate = f" at {self.generated / self.decode_s:.1f}/s" if self.decode_s else ""
        return f"{prompt}, {self.generated} generated{rate}"


class Narrator:
    """Turns events into lines, safe for a terminal. Items, and steps in them, are told only where they fail."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._values: dict[str, Mapping[str, Json]] = {}
        """What items that run stand for: cells of a matrix, keys of a mapping."""
        self._reused = Counter[str]()
        """How many items of a step came from an earlier run."""
        self._calls: dict[str, ToolStarted] = {}
        """Calls of models that are under way."""

    def lines(self, stamped: Stamped) -> list[str]:
        return [one_line(line) for line in self._said(stamped)]

    def _said(self, stamped: Stamped) -> list[str]:
        event = stamped.event
        match event:
            case RunStarted():
                return [f"run {event.run_id}: {event.flow}, {count(len(event.steps), 'step')}"]
            case ServerChanged():
                return [f"server {event.server}: {_server(event)}"]
            case GenerationFinished():
                for step in _within(event.step):
                    self._usage.setdefault(step, Usage()).add(event)
                return []
            case StepStarted():
                if event.values:
                    self._values[event.step] = event.values
                return []
            case StepRetried():
                said = f"attempt {event.attempt} of {event.attempts} failed: {event.error.get('message', '')}"
                return [f"step {event.step}: {said}; again in {event.delay_s:.1f} s"]
            case TrialFinished():
                return [f"step {event.step}: {told_trial(event.trial)}"]
            case BenchJudged():
                return [f"step {event.step}: {told}" for told in told_verdicts(event.verdicts)]
            case RunResumed():
                return [f"resumed at {event.resumed_at}"]
            case RoundFinished():
                return [f"step {event.step}: round {event.round} was not the last"]
            case FellBack():
                return [f"step {event.step}: {event.error.get('message', '')}; its fallback runs"]
            case Warned():
                return [f"warning: {f'step {event.step}: ' if event.step else ''}{event.message}"]
            case StepFinished():
                return self._finished(event)
            case RunFinished():
                return _end(event)
            case ToolStarted():
                if event.permission and shown_as(event.step) == event.step:
                    self._calls[event.call_id] = event
                return []
            case ToolFinished():
                call = self._calls.pop(event.call_id, None)
                return [f"step {event.step}: {call_line(call)}: {result_line(event)}"] if call else []
            case TextCut() | PromptRendered() | TokensArrived():
                return []
            case _:
                assert_never(event)

    def _finished(self, event: StepFinished) -> list[str]:
        values = self._values.pop(event.step, None)
        is_item = shown_as(event.step) != event.step
        if event.reused and event.step.endswith("]"):
            self._reused[event.step.rpartition("[")[0]] += 1
        if (is_item and event.outcome != "failed") or event.reason == "not selected":
            return []
        usage = None if is_item else self._usage.pop(event.step, None)
        parts = [f"step {event.step}{_shown(values)}: {event.outcome}"]
        if event.outcome == "skipped":
            return [f"{parts[0]} ({event.reason})" if event.reason else parts[0]]
        parts.append(f"reused from {event.reused}" if event.reused else f"{event.duration_s:.1f} s")
        if event.items is not None:
            parts.append(count(event.items, "item") + _of_them(self._reused.pop(event.step, 0), event.items))
        if usage:
            parts.append(str(usage))
        return [", ".join(parts) + _cause(event)]


def call_line(call: ToolStarted) -> str:
    """A model's call in short: `read_file {"path": "a.md"}`."""
    text = call.written or json_text(call.arguments)
    return f"{call.tool} {text[:LONGEST_CALL]}{'…' if len(text) > LONGEST_CALL else ''}"


def result_line(end: ToolFinished) -> str:
    """What came of it, in short."""
    if end.error is not None:
        return end.error
    return f"{count(len(json_text(end.result)), 'character')}, {end.duration_s:.1f} s"


def _of_them(reused: int, items: int) -> str:
    return f" ({'all' if reused == items else reused} reused)" if reused else ""


def _shown(values: Mapping[str, Json] | None) -> str:
    return f" ({', '.join(f'{name}: {json_text(value)}' for name, value in values.items())})" if values else ""


def _cause(event: StepFinished) -> str:
    if not event.error:
        return ""
    place = f" ({event.error['at']})" if event.error.get("at") else ""
    return f": {event.error.get('message', event.error.get('kind', ''))}{place}"


def _server(event: ServerChanged) -> str:
    """What became of a server; what is said of it before it starts (its model, a download) stands alone."""
    facts, state = event.facts, event.state
    if state == "ready" and "model" in facts:
        found = "found running" if facts.get("adopted") else "ready"
        after = f" after {facts['ready_s']:.1f} s" if isinstance(facts.get("ready_s"), float | int) else ""
        slots = f"{facts.get('slots', '?')} slots of {facts.get('context_tokens', '?')} tokens"
        return f"{found}{after}: {facts['model']}, {slots}, {facts.get('engine', '?')}"
    if state == "stopped" and event.detail:
        return event.detail
    return server_words(state, event.detail)


def server_words(state: ServerState, detail: str) -> str:
    """`starting: model x.gguf`; `loading the model` says it all."""
    if detail.startswith(f"{state} "):
        return detail
    return f"{state}: {detail}" if detail else state


def _end(event: RunFinished) -> list[str]:
    tokens = ", ".join(f"{count} {name}" for name, count in event.tokens.items() if count)
    said = f"run {event.status} in {event.duration_s:.1f} s" + (f"; tokens: {tokens}" if tokens else "")
    first, *others = event.error.split("\n")
    # Set in, so that no text in an error can pass for a line of the run's own.
    return [f"{said}; {first}" if first else said, *(f"  {other}" for other in others)]


class PlainProgress:
    """The sink for pipes, logs and terminals that cannot do more. Falls silent when nobody reads."""

    def __init__(self, stderr: TextIO) -> None:
        self._stderr = stderr
        self._narrator = Narrator()
        self._read = True

    def take(self, stamped: Stamped) -> None:
        for line in self._narrator.lines(stamped):
            self._write(line)

    def close(self) -> None: ...

    def _write(self, line: str) -> None:
        if self._read:
            try:
                self._stderr.write(line + "\n")
                self._stderr.flush()
            except OSError:
                # A closed pipe: a run does not end because its progress is not read.
                self._read = False
