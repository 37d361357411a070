"""A docstring to what a tool says of itself: its description, and that of each parameter. Pure."""

from __future__ import annotations

import inspect
import re

_FIELD = re.compile(r":(?:param|parameter|arg)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)")
_ANY_FIELD = re.compile(r":\w+[^:]*:")
_HEADING = re.compile(r"[A-Z][A-Za-z ]*:")
_ARGS = ("Args:", "Arguments:", "Parameters:")
_ENTRY = re.compile(r"(\w+)(?:\s*\([^)]*\))?\s*:\s*(.*)")


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The description, and of each parameter that is told of under `Args:` or with `:param x:` what is said."""
    described: list[str] = []
    found: dict[str, list[str]] = {}
    section, entry, indent = "", "", 0
    for line in inspect.cleandoc(text or "").split("\n"):
        stripped = line.strip()
        depth = len(line) - len(line.lstrip())
        if field := _FIELD.fullmatch(stripped):
            section, entry, indent = ":", field[1], depth
            found[entry] = [field[2]]
        elif _ANY_FIELD.match(stripped):
            section, entry = ":", ""
        elif not depth and stripped and (_HEADING.fullmatch(stripped) or section in (*_ARGS, ":")):
            section, entry, indent = (stripped, "", 0) if _HEADING.fullmatch(stripped) else ("", "", 0)
            if not section:
                described.append(line)
        elif section in _ARGS and (given := _ENTRY.fullmatch(stripped)) and (not indent or depth <= indent):
            entry, indent = given[1], depth
            found[entry] = [given[2]]
        elif entry and stripped and (section in _ARGS or depth > indent):
            found[entry].append(stripped)
        elif not section:
            described.append(line)
    return "\n".join(described).strip(), {name: " ".join(said).strip() for name, said in found.items()}
