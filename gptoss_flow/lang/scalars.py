"""What a plain YAML scalar means, by the core rules of YAML 1.2: null, booleans, numbers; all else is text."""

from __future__ import annotations

import math
import re

WORDS: dict[str, bool | None] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
"""Plain scalars that are no text and no number."""
_START_OF_NUMBER = frozenset("0123456789+-.")
STARTS = frozenset(word[:1] for word in WORDS) | _START_OF_NUMBER
"""A plain scalar that starts otherwise is text: its `word[:1]` need not be resolved."""
# A leading zero makes text, of `012` as of `01.5`: such things are codes, dates and versions, never amounts.
_NUMBER = re.compile(
    r"(?P<integer>[-+]?(?:0|[1-9][0-9]*+))"
    r"|0x(?P<hex>[0-9a-fA-F]++)"
    r"|0o(?P<octal>[0-7]++)"
    r"|(?P<float>[-+]?(?:\.[0-9]++|(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?)(?:[eE][-+]?[0-9]++)?)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_LONGEST = 400
"""Characters of a number: Python's own conversion of a million digits takes seconds, or refuses in its words."""


class BadScalar(ValueError):
    """A number that we do not take: `message` says why, `hint` what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain scalar. Raises `BadScalar` for `.nan`, `.inf` and numbers that do not fit."""
    if text in WORDS:
        return WORDS[text]
    if text[0] not in _START_OF_NUMBER or not (match := _NUMBER.fullmatch(text)):
        return text
    if match["special"]:
        raise BadScalar(f"{text} is not a number that JSON has", f'quote it if it is text: "{text}"')
    if len(text) > _LONGEST:
        raise BadScalar(
            f"the number that starts with {text[:12]} has {len(text)} digits", "quote it if it is text"
        )
    if match["float"]:
        if math.isinf(number := float(text)):
            raise BadScalar(f"{_short(text)} is too large", "a number is at most about 1.8e308")
        return number
    if match["hex"]:
        whole = int(match["hex"], 16)
    elif match["octal"]:
        whole = int(match["octal"], 8)
    else:
        whole = int(text)
    if not -(2**63) <= whole < 2**63:
        raise BadScalar(
            f"{_short(text)} does not fit in 64 bits", "write 1.0e20 for a number, or quote it for text"
        )
    return whole


def _short(text: str) -> str:
    return text if len(text) <= 30 else f"{text[:27]}…"
