"""What a line of an rlog is: its type by its prefix, and its content, as the format's own parser tells them.

That parser is in Rust: what it takes for a word character or for white space differs from Python's in places, and
is followed here, because a file must mean the same to both.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Literal, get_args

LineType = Literal[
    "user",
    "agent",
    "tool_start",
    "tool_progress",
    "tool",
    "observation",
    "skill",
    "plan",
    "mode",
    "recall",
    "subagent",
    "mcp",
    "question",
    "comment",
    "phase",
    "lifecycle",
    "thinking",
    "todos",
    "continuation",
    "empty",
    "unknown",
]
LINE_TYPES: tuple[LineType, ...] = get_args(LineType)

SPACES = (
    "\t\n\x0b\x0c\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Unicode's White_Space. Python's own `strip()` and `\\s` take U+001C to U+001F as well."""
_SPACE = frozenset(SPACES)
_ASCII_WORD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
_WORD_CATEGORIES = frozenset({"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "Pc"})
_LETTERS_AMONG_SYMBOLS = ((0x24B6, 0x24E9), (0x1F130, 0x1F149), (0x1F150, 0x1F169), (0x1F170, 0x1F189))
"""Enclosed letters, which are Alphabetic although their category is So."""
_JOINERS = "\u200c\u200d"

_PLAIN: dict[str, LineType] = {
    "u:": "user",
    "a:": "agent",
    "o:": "observation",
    "q:": "question",
    "th:": "thinking",
    "td:": "todos",
}
"""Prefixes after which anything may stand. None of them begins another one of the format."""
_NAMED: dict[str, LineType] = {
    "t!:": "tool_start",
    "t~:": "tool_progress",
    "t:": "tool",
    "p:": "plan",
    "x:": "subagent",
}
"""Prefixes after which a word must stand."""


@lru_cache(maxsize=4096)
def _is_word_beyond_ascii(char: str) -> bool:
    code = ord(char)
    return (
        unicodedata.category(char) in _WORD_CATEGORIES
        or char in _JOINERS
        or any(first <= code <= last for first, last in _LETTERS_AMONG_SYMBOLS)
    )


def is_word(char: str) -> bool:
    r"""Whether a character is one of `\w`; an empty string, where a line ends, is none."""
    return char in _ASCII_WORD or (char > "\x7f" and _is_word_beyond_ascii(char))


def end_of_word(text: str, start: int) -> int:
    """Where the word characters end that stand at `start`; `start` where there are none."""
    end, length = start, len(text)
    while end < length and is_word(text[end]):
        end += 1
    return end


def classify(raw: str) -> tuple[LineType, str]:
    """The type and content of a line, which is given without its end: the first rule that fits decides."""
    line = raw.strip(SPACES)
    if not line:
        return "empty", ""
    if raw[0] == "\t" or raw[:2] == "  ":
        return "continuation", line
    if kind := _PLAIN.get(line[:2]) or _PLAIN.get(line[:3]):
        return kind, line[line.index(":") + 1 :].lstrip(SPACES)
    if line[0] == "@":
        return _lifecycle(line)
    if line[0] == "#":
        return "comment", line[1:].lstrip(SPACES)
    prefix = line[: line.find(":", 1, 3) + 1]
    rest = line[len(prefix) :]
    if kind := _NAMED.get(prefix):
        return (kind, rest) if is_word(rest[:1]) else ("unknown", line)
    if prefix == "r:":
        return "recall", rest
    if prefix == "m:" and is_word(rest.lstrip(SPACES)[:1]):
        return "mode", rest
    if prefix == "c:" and _is_method(rest):
        return "mcp", rest
    if prefix == "s:" and rest and rest[0] not in _SPACE and not _SPACE.isdisjoint(rest):
        return "skill", rest
    return "unknown", line


def _lifecycle(line: str) -> tuple[LineType, str]:
    if line.startswith("@phase"):
        name = line[6:].lstrip(SPACES)
        if len(name) < len(line) - 6 and is_word(name[:1]):
            return "phase", line[7:]
    return ("lifecycle", line[1:]) if is_word(line[1:2]) else ("unknown", line)


def _is_method(rest: str) -> bool:
    """Whether it begins with `server.method`."""
    dot = end_of_word(rest, 0)
    return dot > 0 and rest[dot : dot + 1] == "." and is_word(rest[dot + 1 : dot + 2])
