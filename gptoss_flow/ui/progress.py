"""What a run says while it runs: one plain line for each thing that matters, on standard error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TextIO, assert_never

from gptoss_flow.escape import one_line
from gptoss_flow.events import (
    GenerationFinished,
    PromptRendered,
    RunFinished,
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

_ITEM = re.compile(r"\[\d+\]$")


def fan_out_of(step: str) -> str | None:
    """The step that an item belongs to: `each` for `each[3]`, None for what is no item."""
    parent = _ITEM.sub("", step)
    return None if parent == step else parent


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
    """Turns events into lines, safe for a terminal. Items of a fan-out are told only where they fail."""

    def __init__(self) -> None:
        self._usage: dict[str, Usage] = {}
        self._failed_items: dict[str, int] = {}

    def lines(self, stamped: Stamped) -> list[str]:
        return [one_line(line) for line in self._said(stamped)]

    def _said(self, stamped: Stamped) -> list[str]:
        event = stamped.event
        match event:
            case RunStarted():
                count = len(event.steps)
                return [f"run {event.run_id}: {event.flow}, {count} step{'' if count == 1 else 's'}"]
            case ServerChanged():
                return [f"server {event.server}: {_server(event)}"]
            case GenerationFinished():
                self._usage.setdefault(fan_out_of(event.step) or event.step, Usage()).add(event)
                return []
            case StepRetried():
                said = f"attempt {event.attempt} of {event.attempts} failed: {event.error.get('message', '')}"
                return [f"step {event.step}: {said}; again in {event.delay_s:.1f} s"]
            case Warned():
                return [f"warning: {f'step {event.step}: ' if event.step else ''}{event.message}"]
            case StepFinished():
                return self._finished(event)
            case RunFinished():
                return [_end(event)]
            case StepStarted() | PromptRendered() | TokensArrived() | ToolStarted() | ToolFinished():
                return []
            case _:
                assert_never(event)

    def _finished(self, event: StepFinished) -> list[str]:
        fan_out = fan_out_of(event.step)
        if fan_out is not None and event.outcome != "failed":
            return []
        usage = None if fan_out else self._usage.pop(event.step, None)
        parts = [f"step {event.step}: {event.outcome}"]
        if event.outcome == "skipped":
            return [f"{parts[0]} ({event.reason})" if event.reason else parts[0]]
        parts.append(f"{event.duration_s:.1f} s")
        if event.items is not None:
            parts.append(f"{event.items} item{'' if event.items == 1 else 's'}")
        if usage:
            parts.append(str(usage))
        return [", ".join(parts) + _cause(event)]


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
    return f"{state}: {event.detail}" if event.detail else state


def _end(event: RunFinished) -> str:
    tokens = ", ".join(f"{count} {name}" for name, count in event.tokens.items() if count)
    said = f"run {event.status} in {event.duration_s:.1f} s" + (f"; tokens: {tokens}" if tokens else "")
    return f"{said}; {event.error}" if event.error else said


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
