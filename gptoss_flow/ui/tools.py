"""Tools in lines and tables: what one says of itself in short, and what it takes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from gptoss_flow.fields import json_text
from gptoss_flow.ports import Tool

WIDTH = 80
LONGEST_TYPE = 20
"""Characters of a type that stand in its column."""


def described(tool: Tool) -> str:
    """The first sentence of its description, cut behind a word to fit a table."""
    sentence = tool.description.partition("\n")[0].partition(". ")[0]
    return textwrap.shorten(sentence.rstrip("."), WIDTH, placeholder=" …")


def description(tool: Tool, width: int | None) -> str:
    """All of it, its lines broken where the terminal ends."""
    lines = tool.description.split("\n")
    if width is not None:
        lines = [piece for line in lines for piece in textwrap.wrap(line, width) or [""]]
    return "\n".join(lines)


def argument_rows(tool: Tool) -> list[tuple[str, str, str, str]]:
    """Name, type, whether it is needed (or what it is without), and what is said of it."""
    properties = tool.parameters.get("properties") or {}
    needed = tool.parameters.get("required") or []
    return [_row(name, about, needed=name in needed) for name, about in properties.items()]


def _row(name: str, about: Mapping[str, Any], *, needed: bool) -> tuple[str, str, str, str]:
    kind, said = _type(about), _about(about)
    if len(kind) > LONGEST_TYPE:  # a list of words, which would push the rest out of sight
        kind, said = "one of", f"{kind}. {said}" if said else kind
    return name, kind, _needed(needed, about), said


def _type(schema: Mapping[str, Any]) -> str:
    if isinstance(words := schema.get("enum"), list):
        return ", ".join(map(json_text, words))
    if isinstance(branches := schema.get("anyOf"), list):
        return " or ".join(dict.fromkeys(_type(branch) for branch in branches))
    said = schema.get("type", "any")
    if said == "array" and isinstance(items := schema.get("items"), dict):
        return f"array of {_type(items)}"
    if said == "any" and (ref := schema.get("$ref")):
        return str(ref).rpartition("/")[2]
    return said if isinstance(said, str) else " or ".join(said)


def _needed(needed: bool, schema: Mapping[str, Any]) -> str:
    if needed:
        return "yes"
    default = schema.get("default")
    return "" if default is None else f"default {json_text(default)}"


def _about(schema: Mapping[str, Any]) -> str:
    return str(schema.get("description", "")).replace("\n", " ").rstrip(".")
