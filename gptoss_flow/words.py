"""Wording that many messages share: suggestions for a mistyped word, counts of things."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggest(word: str, allowed: Iterable[str]) -> str:
    """A hint for a word that is not allowed: `did you mean "x"?`, else what is allowed."""
    words = list(allowed)
    near = get_close_matches(word, words, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"allowed: {', '.join(words)}" if words else "none is allowed here"


def count(number: int, noun: str) -> str:
    """`1 step`, `3 steps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
