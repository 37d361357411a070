"""Changes to a flow's document from the command line: `--set steps.a.prompt.params.seed=3`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.lang.document import Path, parse_document
from gptoss_flow.lang.scalars import BadScalar, resolve
from gptoss_flow.words import suggest

OPTION = "--set"
_NAMED = ("steps", "finally", "inputs", "vars", "outputs")
"""Mappings whose entries can be changed, and not added to."""


def apply_changes(data: Any, changes: Sequence[str]) -> tuple[Any, Mapping[Path, Mark], list[Problem]]:
    """The data with each `path=value` done in order, the places of what was changed, and what cannot be done.

    The data that was given is left as it is. A value is a YAML scalar, or `[…]`, `{…}` or a quoted text.
    """
    places: dict[Path, Mark] = {}
    problems = []
    for change in changes:
        written, equals, text = change.partition("=")
        mark = Mark(f"{OPTION} {written}", 0, 0)
        if not equals or not written:
            problems.append(Problem(Mark(f"{OPTION} {change}", 0, 0), "is no change", "write PATH=VALUE"))
            continue
        try:
            path, data = _changed(data, written.split("."), _value(text))
            places[path] = mark
        except _Refused as error:
            problems.append(Problem(mark, *error.args))
    return data, places, problems


class _Refused(Exception):
    """A change that cannot be done: message and hint."""


def _value(text: str) -> Any:
    if text[:1] in ("[", "{", '"', "'"):
        try:
            return parse_document(text, OPTION).data
        except Invalid as error:
            raise _Refused(f"the value is not YAML: {error.problems[0].message}", "") from None
    try:
        return resolve(text)
    except BadScalar as error:
        raise _Refused(error.message, error.hint) from None


def _changed(data: Any, parts: Sequence[str], value: Any) -> tuple[Path, Any]:
    """The path as keys and indices, and a copy of the data in which the value stands there."""
    path: list[str | int] = []
    root = dict(data) if isinstance(data, dict) else {}
    here: Any = root
    for depth, part in enumerate(parts):
        key = _key(here, part, parts[:depth])
        path.append(key)
        if depth == len(parts) - 1:
            here[key] = value
            break
        inner: Any = {} if isinstance(here, dict) and here.get(key) is None else here[key]
        if not isinstance(inner, dict | list):
            raise _Refused(f'"{".".join(parts[: depth + 1])}" holds no keys', f"it is {inner!r}")
        copied = dict(inner) if isinstance(inner, dict) else list(inner)
        here[key] = copied
        here = copied
    return tuple(path), root


def _key(here: Any, part: str, above: Sequence[str]) -> Any:
    """A part of a path as a key of a mapping or an index of a list."""
    if isinstance(here, list):
        if not part.isdecimal() or int(part) >= len(here):
            where = ".".join(above)
            raise _Refused(f'"{where}" has no item "{part}"', f"it is a list of {len(here)}, counted from 0")
        return int(part)
    if not part:
        raise _Refused("a part of the path is empty", "write keys with single dots between them")
    if len(above) == 1 and above[0] in _NAMED and part not in here:
        raise _Refused(f'there is no "{part}" in "{above[0]}"', suggest(part, here))
    return part
