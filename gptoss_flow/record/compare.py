"""Compares two runs step by step: what was given, what each unit ended with, and what decided it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.record.differences import excerpt, first_apart
from gptoss_flow.record.state import RunState, StepView


@dataclass(frozen=True, slots=True)
class StepDifference:
    """A step or item that is not the same in both runs: what differs, a line each."""

    step: str
    said: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunDifference:
    """Empty where two runs were the same but for times."""

    run: tuple[str, ...] = ()
    """Of the runs as such: flow, version, inputs, status, outputs."""
    steps: tuple[StepDifference, ...] = ()
    same: tuple[str, ...] = field(default=())
    """The steps that do not differ."""

    def __bool__(self) -> bool:
        return bool(self.run or self.steps)


def compare(one: RunState, other: RunState) -> RunDifference:
    """What `other` has that `one` has not, and the reverse; a fan-out is told by its items."""
    ours, theirs = dict(_units(one)), dict(_units(other))
    differing, same = [], []
    for unit in dict.fromkeys([*ours, *theirs]):
        said = tuple(_apart(ours.get(unit), theirs.get(unit)))
        if said:
            differing.append(StepDifference(unit, said))
        else:
            same.append(unit)
    return RunDifference(tuple(_runs_apart(one, other)), tuple(differing), tuple(same))


def _units(state: RunState) -> Iterator[tuple[str, StepView]]:
    for step in state.steps.values():
        yield step.id, step
        for index in sorted(step.items):
            yield step.items[index].id, step.items[index]


def _runs_apart(one: RunState, other: RunState) -> Iterator[str]:
    if one.started and other.started:
        for name in ("flow", "version", "repo_sha", "servers"):
            yield from _changed(name, getattr(one.started, name), getattr(other.started, name))
        yield from _each("input", one.started.inputs, other.started.inputs)
    yield from _changed("status", one.status or "unfinished", other.status or "unfinished")
    if one.finished and other.finished:
        yield from _each("output", one.finished.outputs, other.finished.outputs)
    for name in sorted(one.servers.keys() & other.servers.keys()):
        for fact in ("model", "build", "engine", "context_tokens", "slots"):
            before, after = (state.servers[name].facts.get(fact) for state in (one, other))
            yield from _changed(f"server {name}: {fact}", before, after)


def _apart(one: StepView | None, other: StepView | None) -> Iterator[str]:
    if one is None or other is None:
        yield "only in the second run" if one is None else "only in the first run"
        return
    yield from _changed("kind", one.kind, other.kind)
    yield from _changed("outcome", one.outcome, other.outcome)
    if one.item_count is None and other.item_count is None:
        # What was skipped has no key: of a part that only one run knows, no change can be told.
        if changed := [part for part in one.key if part in other.key and one.key[part] != other.key[part]]:
            yield f"what decided it: {', '.join(changed)} changed"
        yield from _changed("output", one.output, other.output)
    else:
        yield from _changed("items", one.item_count, other.item_count)
    yield from _changed("error", (one.error or {}).get("message"), (other.error or {}).get("message"))
    yield from _changed("attempts", one.attempts, other.attempts)


def _each(word: str, one: dict[str, Json], other: dict[str, Json]) -> Iterator[str]:
    for name in dict.fromkeys([*one, *other]):
        yield from _changed(f"{word} {name}", one.get(name), other.get(name))


def _changed(name: str, before: Json, after: Json) -> Iterator[str]:
    if before != after:
        was, now = json_text(before), json_text(after)
        at = first_apart(was, now) or 0
        yield f"{name}: {excerpt(was, at)} -> {excerpt(now, at)}"
