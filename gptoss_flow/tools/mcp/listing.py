"""What an MCP server says that it has, held against what may be shown to a model and what was pinned. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.structured import schema_fault
from gptoss_flow.words import TOOL_NAME, function_name

MAX_TOOLS = 1000
MAX_DESCRIPTION = 16_384
MAX_SCHEMA = 65_536
"""Characters of its JSON."""
MAX_SCHEMA_DEPTH = 32
EXCERPT = 200
_VALUES = ("default", "const", "enum", "examples", "example")
"""Keywords that hold values, not schemas."""


@dataclass(frozen=True, slots=True)
class ListedTool:
    """One tool, as its server tells of it."""

    name: str
    """The server's own name for it."""
    description: str
    parameters: Mapping[str, Json]


Pinned = Mapping[str, ListedTool]
"""What a server's tools are to be, by the server's own names."""


@dataclass(frozen=True, slots=True)
class Listing:
    tools: Mapping[str, ListedTool]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Tools that cannot be offered, with the reason."""


class BadListingError(Exception):
    """A listing of which nothing can be taken."""


def read_listing(
    server: str, said: Iterable[tuple[str, str | None, Any]], allowed: Collection[str] | None
) -> Listing:
    """Of what a server lists (name, description, input schema), what can be offered. Raises `BadListingError`.

    `allowed`: the only ones that the flow lets in; None: all.
    """
    tools: dict[str, ListedTool] = {}
    refused: dict[str, str] = {}
    spoken: dict[str, str] = {}
    for count, (name, description, schema) in enumerate(said):
        if count >= MAX_TOOLS:
            raise BadListingError(f"it lists more than {MAX_TOOLS:,} tools")
        if name in tools or name in refused:
            raise BadListingError(f'it lists "{one_line(name[:80])}" twice')
        if allowed is not None and name not in allowed:
            continue
        called = function_name(f"{server}.{name}")
        if reason := _why_not(f"{server}.{name}", description or "", schema):
            refused[name] = reason
        elif called in spoken:
            refused[name] = f"a model could not tell it from {server}.{spoken[called]}: both are {called} to it"
        else:
            spoken[called] = name
            tools[name] = ListedTool(name, description or "", checkable(schema))
    return Listing(tools, refused)


def _why_not(full_name: str, description: str, schema: Any) -> str:
    if full_name.endswith(".") or not TOOL_NAME.fullmatch(full_name):
        return "its name is not made of up to 64 of A-Z a-z 0-9 _ . - (with the server's name and a dot before it)"
    if not TOOL_NAME.fullmatch(function_name(full_name)):
        return f"a model would call it {function_name(full_name)}, which is longer than 64 characters"
    if len(description) > MAX_DESCRIPTION:
        return f"its description has more than {MAX_DESCRIPTION:,} characters"
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        return "its input schema is not that of an object"
    try:
        text = json.dumps(schema, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return "its input schema is not JSON"
    if len(text) > MAX_SCHEMA:
        return f"its input schema has more than {MAX_SCHEMA:,} characters"
    if fault := _schema_fault(schema, 0):
        return fault
    return f"its input schema {fault}" if (fault := schema_fault(schema)) else ""


def _schema_fault(schema: Any, depth: int) -> str:
    if depth > MAX_SCHEMA_DEPTH:
        return f"its input schema is nested more than {MAX_SCHEMA_DEPTH} deep"
    if isinstance(schema, dict) and _refers_elsewhere(schema):
        return "its input schema refers to something elsewhere"
    children = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    return next((fault for child in children if (fault := _schema_fault(child, depth + 1))), "")


def _refers_elsewhere(schema: Mapping[str, Any]) -> bool:
    refers = any(not str(schema.get(key, "#")).startswith("#") for key in ("$ref", "$dynamicRef"))
    return refers or isinstance(schema.get("$id"), str)  # to which its references would be relative


def checkable(schema: Any) -> Any:
    """A schema without regular expressions: a stranger's would run on our time. The server judges by its own.

    Titles are left out too: they repeat the names, and a model reads every word. So is the dialect that it says it
    is in: it is read in ours.
    """
    if isinstance(schema, list):
        return [checkable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    open_ended = "patternProperties" in schema
    return {
        key: value if key in _VALUES else checkable(value)
        for key, value in schema.items()
        if not (key in ("pattern", "title", "$schema") and isinstance(value, str))
        and not (open_ended and key in ("patternProperties", "additionalProperties"))
    }


def changes(server: str, pinned: Pinned, now: Listing) -> Iterator[str]:
    """In what a server's tools are not what they were pinned as. One that is new is no change: it is left out."""
    for name, before in pinned.items():
        after, title = now.tools.get(name), f"{server}.{name}"
        if after is None:
            yield f"{title} is gone" + (f": {now.refused[name]}" if name in now.refused else "")
            continue
        if after.description != before.description:
            yield f"the description of {title} was {_excerpts(before.description, after.description)}"
        if after.parameters != before.parameters:
            yield f"the arguments of {title} changed: {_changed_arguments(before.parameters, after.parameters)}"


def _excerpts(before: str, after: str) -> str:
    """Both, from a little before the place where they part."""
    at = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after))
    )
    start = max(0, at - 40)
    return " and is ".join(_quoted(text, start) for text in (before, after))


def _quoted(text: str, start: int) -> str:
    cut = text[start : start + EXCERPT]
    return f'"{"…" if start else ""}{one_line(cut)}{"…" if start + EXCERPT < len(text) else ""}"'


def _changed_arguments(before: Mapping[str, Json], after: Mapping[str, Json]) -> str:
    one, other = before.get("properties") or {}, after.get("properties") or {}
    if not isinstance(one, dict) or not isinstance(other, dict):
        return "their schema is another"
    said = [
        f'"{one_line(name)}" is {"new" if name in other else "gone"}' for name in sorted(one.keys() ^ other.keys())
    ]
    said += [
        f'"{one_line(name)}" is another' for name in sorted(one.keys() & other.keys()) if one[name] != other[name]
    ]
    return ", ".join(said[:10]) or "which are required, or how they go together"
