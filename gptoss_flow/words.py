"""Wording that many messages share: suggestions for a mistyped word, counts of things."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

MAX_COMPARED = 500
MAX_LISTED = 60
"""Comparing a word with ten thousand others takes a tenth of a second, and nobody reads so many."""


def suggest(word: str, allowed: Iterable[str]) -> str:
    """A hint for a word that is not allowed: `did you mean "x"?`, else what is allowed."""
    words = list(islice(allowed, MAX_COMPARED))
    if near := nearest(word, words):
        return f'did you mean "{near}"?'
    listed = words if len(words) <= MAX_LISTED else [*words[:MAX_LISTED], "…"]
    return f"allowed: {', '.join(listed)}" if words else "none is allowed here"


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The word that this one may be a slip for; empty where none is like it."""
    return next(iter(get_close_matches(word[:100], list(islice(allowed, MAX_COMPARED)), n=1, cutoff=0.6)), "")


TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What a tool may be called where a model sees it: it stands in a header of the prompt."""


def function_name(tool: str) -> str:
    """A tool's name as a function's, which has no dots: `ui_pane.move` is `ui_pane__move`."""
    return tool.replace(".", "__")


def word_set(text: str) -> frozenset[str]:
    """The words of a text that stand between spaces."""
    return frozenset(text.split())


def count(number: int, noun: str) -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
