"""The inline fields of an rlog's line: for each, the first that stands anywhere in the content counts.

A field begins at a word boundary, and text is no shelter: `he said id=7` has an id. Numbers that do not fit the
format's types are no numbers, although the first hit has decided then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from gptoss_flow.record.rlog_lines import SPACES, end_of_word, is_word

U32, U64 = 2**32 - 1, 2**64 - 1
ARROW = "→"

_DIGITS = re.compile(r"\d+")
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?Z?")
_ATTEMPT = re.compile(r"\d+(?:/\d+)?")
_PARENT = re.compile(r"[a-f0-9-]+")
_SOLID = re.compile(f"[^{SPACES}]+")
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class Fields:
    """What a line says of itself; None where it does not. Numbers are within the format's limits."""

    call_id: str | None = None
    step: int | None = None
    timestamp: str | None = None
    tid: str | None = None
    span: str | None = None
    level: str | None = None
    latency_ms: int | None = None
    attempt: str | None = None
    result: str | None = None
    parent: str | None = None
    sig: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    interrupted: bool = False
    model: str | None = None

    def given(self) -> dict[str, str | int | bool]:
        """The fields that the line has, by name."""
        named = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in named if value is not None and value is not False}


def read_fields(content: str) -> Fields:
    """Every field of a line's content."""
    found = Fields(result=result_of(content), interrupted=is_interrupted(content))
    if "=" not in content:
        return found
    return Fields(
        call_id=word_of(content, "id="),
        step=number_of(content, "step=", U32),
        timestamp=_match_of(content, "ts=", _TIMESTAMP),
        tid=word_of(content, "tid="),
        span=word_of(content, "span="),
        level=word_of(content, "level="),
        latency_ms=number_of(content, "latency_ms=", U64),
        attempt=_match_of(content, "attempt=", _ATTEMPT),
        result=found.result,
        parent=_match_of(content, "parent=", _PARENT),
        sig=_match_of(content, "sig=", _SOLID),
        tokens_in=number_of(content, "tokens_in=", U64),
        tokens_out=number_of(content, "tokens_out=", U64),
        tokens_cached=number_of(content, "tokens_cached=", U64),
        interrupted=found.interrupted,
        model=_match_of(content, "model=", _SOLID),
    )


def word_of(content: str, key: str) -> str | None:
    """The word behind `key`, which ends with `=`."""
    at = content.find(key)
    while at >= 0:
        start = at + len(key)
        if not at or content[at - 1] == " " or not is_word(content[at - 1]):
            plain = _ASCII_WORD.match(content, start)
            end = plain.end() if plain else start
            if content[end : end + 1] > "\x7f":
                end = end_of_word(content, end)
            if end > start:
                return content[start:end]
        at = content.find(key, at + 1)
    return None


def number_of(content: str, key: str, most: int) -> int | None:
    """The whole number behind `key`; None also where it is more than `most` or not in ASCII digits."""
    digits = _match_of(content, key, _DIGITS)
    if digits is None or not digits.isascii():
        return None
    if len(digits) > 20:
        digits = digits.lstrip("0")[:21] or "0"
    return value if (value := int(digits)) <= most else None


def result_of(content: str) -> str | None:
    """What stands behind the first arrow, to the end of the line; None where that is nothing."""
    _, arrow, result = content.partition(ARROW)
    return result.lstrip(SPACES) or None if arrow else None


def is_interrupted(content: str) -> bool:
    word = "interrupted"
    at = content.find(word)
    while at >= 0:
        end = at + len(word)
        if not (at and is_word(content[at - 1])) and not is_word(content[end : end + 1]):
            return True
        at = content.find(word, at + 1)
    return False


def _match_of(content: str, key: str, value: re.Pattern[str]) -> str | None:
    at = content.find(key)
    while at >= 0:
        is_start = not at or content[at - 1] == " " or not is_word(content[at - 1])
        if is_start and (found := value.match(content, at + len(key))):
            return found[0]
        at = content.find(key, at + 1)
    return None
