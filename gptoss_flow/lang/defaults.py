"""Merges a flow's `defaults` under its steps, as plain data, and remembers where each value was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gptoss_flow.lang.document import Path
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.steps.base import CommonKeys

COMMON = frozenset(field.alias or name for name, field in CommonKeys.model_fields.items())
STEPS = ("steps", "finally")
"""The keys of a flow that hold steps."""
FALLBACK: Path = ("on_error", "fallback")


def merge(under: Any, over: Any) -> Any:
    """Mappings merge, everything else is replaced."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merge(under[key], value) if key in under else value for key, value in over.items()}
    return over


def merge_defaults(data: Any) -> Any:
    """The flow's data with its defaults merged under every step; data of a wrong shape is left as it is."""
    if not isinstance(data, dict) or not isinstance(defaults := data.get("defaults"), dict) or not defaults:
        return data
    common = {key: value for key, value in defaults.items() if key in COMMON}
    bodies = {kind: _body(defaults.get(kind), kind) for kind in KINDS}
    under = {kind: merge(common, _common(defaults.get(kind))) | bodies[kind] for kind in KINDS}
    return data | {
        part: {step_id: _merged(step, under, bodies) for step_id, step in data[part].items()}
        for part in STEPS
        if isinstance(data.get(part), dict)
    }


def _merged(step: Any, under: dict[str, Any], bodies: dict[str, Any]) -> Any:
    kind = kind_of(step)
    if kind is None:
        return step
    merged = merge(under[kind], step)
    fallback = fallback_of(merged)
    if (other := kind_of(fallback)) is None:
        return merged
    return merged | {"on_error": merged["on_error"] | {"fallback": merge(bodies[other], fallback)}}


def _common(given: Any) -> dict[str, Any]:
    """The common keys among a kind's defaults."""
    return {key: value for key, value in given.items() if key in COMMON} if isinstance(given, dict) else {}


def _body(given: Any, kind: str) -> dict[str, Any]:
    """A kind's defaults for its body, in a step's shape."""
    if not isinstance(given, dict):
        return {}
    body = {key: value for key, value in given.items() if key not in COMMON}
    return {kind: body} if body and KINDS[kind].nested_body else body


def fallback_of(step: Any) -> Any:
    """The `fallback` of a step as written; None where it has none."""
    on_error = step.get("on_error") if isinstance(step, dict) else None
    return on_error.get("fallback") if isinstance(on_error, dict) else None


def bodies_of(data: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each step and each fallback that is a mapping, with its place."""
    for part in STEPS:
        steps = data.get(part)
        for step_id, step in steps.items() if isinstance(steps, dict) else ():
            if isinstance(step, dict):
                yield (part, step_id), step
            if isinstance(fallback := fallback_of(step), dict):
                yield (part, step_id, *FALLBACK), fallback


def origin(merged: Any, has: Callable[[Path], bool], path: Path) -> Path:
    """Where the value at `path` of the merged data was written: in its step, or under `defaults`."""
    if len(path) < 3 or path[0] not in STEPS or has(path):
        return path
    part, step_id, *rest = path
    step = merged[part][step_id]
    found = _under_kind(kind_of(step), rest, has)
    if found is None and tuple(rest[:2]) == FALLBACK and len(rest) > 2:
        found = _under_kind(kind_of(fallback_of(step)), rest[2:], has)
    if found is None and has(("defaults", *rest)):
        found = ("defaults", *rest)
    return found or path


def _under_kind(kind: str | None, rest: list[str | int], has: Callable[[Path], bool]) -> Path | None:
    if kind is None:
        return None
    inner = rest[1:] if rest[0] == kind and KINDS[kind].nested_body else rest
    path = ("defaults", kind, *inner)
    return path if has(path) else None
