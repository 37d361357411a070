"""Where two recorded things part: the first token, message or character that differs, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gptoss_flow.events import Json
from gptoss_flow.fields import json_text

SHOWN_CHARS = 40


def first_apart(one: Sequence[object], other: Sequence[object]) -> int | None:
    """The index of the first items that differ, or where the shorter one ends; None where both are equal."""
    for at, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return at
    return None if len(one) == len(other) else min(len(one), len(other))


def first_token_apart(now: Sequence[int], then: Sequence[int]) -> str:
    """Where two sequences of tokens part, in words; empty where they are the same."""
    at = first_apart(now, then)
    if at is None:
        return ""
    is_now, was = (str(tokens[at]) if at < len(tokens) else "the end" for tokens in (now, then))
    return f"token {at} is {is_now}, and was {was}"


def messages_apart(now: Sequence[Mapping[str, Json]], then: Sequence[Mapping[str, Json]]) -> str:
    """Where two conversations part, in words; empty where they are the same."""
    for number, (a, b) in enumerate(zip(now, then, strict=False), start=1):
        if a.get("role") != b.get("role"):
            return f"message {number} is the {a.get('role')}'s, and was the {b.get('role')}'s"
        text, was = str(a.get("content", "")), str(b.get("content", ""))
        at = first_apart(text, was)
        if at is not None:
            place = f"message {number} is not as it was, from character {at + 1} on"
            return f"{place}: {excerpt(text, at)}, was {excerpt(was, at)}"
        for key in ("reasoning", "tool_calls", "tool_call_id", "name"):
            if a.get(key) != b.get(key):
                is_now, was = (excerpt(json_text(given.get(key))) for given in (a, b))
                return f"{key} of message {number} is {is_now}, and was {was}"
    return "" if len(now) == len(then) else f"it has {len(now)} messages, and had {len(then)}"


def excerpt(text: str, at: int = 0) -> str:
    """A little of a text around a place in it, quoted."""
    start = max(0, at - SHOWN_CHARS // 4)
    piece = text[start : start + SHOWN_CHARS]
    return f"{'…' if start else ''}{piece!r}{'…' if start + SHOWN_CHARS < len(text) else ''}"
