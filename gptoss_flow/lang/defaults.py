"""Merges a flow's `defaults` under its steps, as plain data, and remembers where each value was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gptoss_flow.lang.document import Path
from gptoss_flow.steps import KINDS, kind_of
from gptoss_flow.steps.base import CommonKeys

COMMON = frozenset(field.alias or name for name, field in CommonKeys.model_fields.items())


def merge(under: Any, over: Any) -> Any:
    """Mappings merge, everything else is replaced."""
    if isinstance(under, dict) and isinstance(over, dict):
        return under | {key: merge(under[key], value) if key in under else value for key, value in over.items()}
    return over


def _of_kind(defaults: dict[str, Any], kind: str) -> dict[str, Any]:
    """A kind's defaults in a step's shape: common keys beside its body keys."""
    given = defaults.get(kind)
    if not isinstance(given, dict):
        return {}
    common = {key: value for key, value in given.items() if key in COMMON}
    body = {key: value for key, value in given.items() if key not in COMMON}
    if not body:
        return common
    return common | ({kind: body} if KINDS[kind].nested_body else body)


def merge_defaults(data: Any) -> Any:
    """The flow's data with its defaults merged under every step; data of a wrong shape is left as it is."""
    if not isinstance(data, dict):
        return data
    defaults, steps = data.get("defaults"), data.get("steps")
    if not isinstance(defaults, dict) or not isinstance(steps, dict):
        return data
    common = {key: value for key, value in defaults.items() if key in COMMON}
    merged = {}
    for step_id, step in steps.items():
        kind = kind_of(step)
        merged[step_id] = merge(merge(common, _of_kind(defaults, kind)), step) if kind else step
    return data | {"steps": merged}


def origin(merged: Any, has: Callable[[Path], bool], path: Path) -> Path:
    """Where the value at `path` of the merged data was written: in its step, or under `defaults`."""
    if len(path) < 3 or path[0] != "steps" or has(path):
        return path
    _, step_id, *rest = path
    kind = kind_of(merged["steps"][step_id])
    if kind is not None:
        inner = rest[1:] if rest[0] == kind and KINDS[kind].nested_body else rest
        for candidate in (("defaults", kind, *inner), ("defaults", *rest)):
            if has(candidate):
                return candidate
    return path
