"""The header of an rlog: its scalars are read as the text that stands there and then typed by their key.

YAML's own guesses would turn the commit `7112981e0` into a number and `1.10` into another version. Only what may
be any YAML (`toolset`, keys that the format does not know) is guessed at, and only what can be nothing else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gptoss_flow.errors import Invalid
from gptoss_flow.escape import one_line
from gptoss_flow.lang.document import parse_document
from gptoss_flow.record.rlog_fields import U64
from gptoss_flow.record.rlog_lines import SPACES

REQUIRED = ("format", "id", "repo_sha")
_TEXT = frozenset({
    "format", "id", "repo_sha", "mode", "model", "agent", "version", "repo", "branch", "sandbox_id", "runner",
    "budget", "duration", "classification", "notes", "client_version", "slug", "cwd",
})  # fmt: skip
_LISTS = frozenset({"skills", "mcp"})
_NUMBERS = frozenset({"tokens_total_in", "tokens_total_out", "tokens_cached"})
KNOWN = _TEXT | _LISTS | _NUMBERS | {"dirty", "toolset"}

_KEY = re.compile(r"(?P<key>[^\s#:'\"\[\]{},&*!|>%@`-][^:#]*|\"[^\"]*\"|'[^']*'):(?:[ \t]+(?P<value>.*)|$)")
_COMMENT = re.compile(r"[ \t]#.*")
_ITEM = re.compile(r"[ \t]*-(?:[ \t]+(.*)|$)")
_BEGINS_MORE = frozenset("[{|>&*!")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_FRACTION = re.compile(r"-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,15}", re.ASCII)


@dataclass(slots=True)
class Header:
    """What a header says. `values` has the format's keys, typed, and under `extra` those that it does not know."""

    line: int = 1
    """Of the opening `---`; 1 where there is none."""
    end_line: int = 0
    """Of the closing `---`; 0 where there is none."""
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    """The line of each key."""
    wrong: list[tuple[int, str]] = field(default_factory=list)
    """Line and message of each value that has not the form that its key asks for."""
    missing: str = ""
    """Why no session can be read from it, in words; empty where one can."""

    def text(self, key: str) -> str | None:
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def total(self, key: str) -> int | None:
        value = self.values.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) else None


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    line: int
    value: str
    """What stands on the key's own line."""
    more: list[str]
    """The lines below it."""


def read_header(lines: Sequence[str], line: int) -> Header:
    """What the lines between the two `---` say; `line` is that of the first `---`. Takes anything."""
    header = Header(line=line)
    extra: dict[str, Any] = {}
    for entry in _entries(lines, header):
        if entry.key in header.places:
            header.wrong.append((entry.line, f'"{one_line(entry.key)}" is given twice; the last one counts'))
        header.places[entry.key] = entry.line
        (header.values if entry.key in KNOWN else extra).pop(entry.key, None)
        value, complaint = _typed(entry)
        if complaint:
            header.wrong.append((entry.line, f'"{entry.key}" should be {complaint}'))
        if entry.key not in KNOWN:
            extra[entry.key] = value
        elif value is not None:
            header.values[entry.key] = value
    if extra:
        header.values["extra"] = extra
    header.missing = _what_is_missing(header)
    return header


def _what_is_missing(header: Header) -> str:
    for key in REQUIRED:
        if not header.values.get(key):
            return f'the header has no "{key}"' if key not in header.places else f'"{key}" in the header is empty'
    if not header.values["format"].startswith("rlog/"):
        return f'"format" is "{one_line(header.values["format"][:50])}" and does not start with "rlog/"'
    return ""


def _entries(lines: Sequence[str], header: Header) -> list[_Entry]:
    entries: list[_Entry] = []
    for number, line in enumerate(lines, start=header.line + 1):
        if match := _KEY.fullmatch(line.rstrip(SPACES)):
            key = match["key"].rstrip(SPACES)
            if key[0] in "\"'":
                key = key[1:-1]
            entries.append(_Entry(key, number, (match["value"] or "").strip(SPACES), []))
        elif entries and (not line.strip(SPACES) or line[0] in " \t-#"):
            entries[-1].more.append(line)
        elif line.strip(SPACES) and line.lstrip(SPACES)[0] != "#":
            header.wrong.append((number, f"this line of the header is no key: {one_line(line[:50])}"))
    return entries


def _typed(entry: _Entry) -> tuple[Any, str]:
    """The value and, where it has not the form of its key, what that form is; the text stays then."""
    key, (text, is_plain) = entry.key, _scalar(entry)
    is_null = is_plain and text in _NULLS
    if text is None:
        structure = _structure(entry)
        if key in _LISTS:
            is_list = isinstance(structure, list) and all(isinstance(item, str) for item in structure)
            return structure, "" if is_list else "a list of text"
        if key in _TEXT and isinstance(structure, str):
            return structure, ""
        if key in KNOWN and key != "toolset":
            return _source(entry), _form(key)
        if structure is None:
            return _source(entry), "valid YAML"
        return structure, ""
    if key in _TEXT and (not is_null or not text):
        return text, ""
    if is_null:
        return None, ""
    if key in _NUMBERS:
        is_number = is_plain and text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= U64
        return (int(text), "") if is_number else (text, _form(key))
    if key == "dirty":
        return (_BOOLS[text], "") if is_plain and text in _BOOLS else (text, _form(key))
    if key in _LISTS:
        return text, _form(key)
    return (_guessed(text) if is_plain else text), ""


def _form(key: str) -> str:
    if key in _NUMBERS:
        return "a whole number from 0 to 18446744073709551615"
    return "true or false" if key == "dirty" else "a list of text" if key in _LISTS else "text"


def _scalar(entry: _Entry) -> tuple[str | None, bool]:
    """The text of a scalar on one line and whether it stands there without quotes; None for what is more."""
    if any(line.strip(SPACES) and not line.lstrip(SPACES).startswith("#") for line in entry.more):
        return None, False
    return _one_scalar(entry.value)


def _one_scalar(value: str) -> tuple[str | None, bool]:
    if value[:1] == '"':
        try:
            text, end = json.JSONDecoder(strict=False).raw_decode(value)
        except ValueError:
            return None, False
        return (text, False) if not value[end:].strip() or _COMMENT.fullmatch(value[end:]) else (None, False)
    if value[:1] == "'":
        quoted = re.fullmatch(r"'((?:[^']|'')*)'(?:[ \t]+#.*)?", value)
        return (quoted[1].replace("''", "'"), False) if quoted else (None, False)
    if value[:1] == "#":
        return "", True
    if value[:1] in _BEGINS_MORE and value[:1]:
        return None, False
    return _COMMENT.sub("", value, count=1).rstrip(SPACES), True


def _structure(entry: _Entry) -> Any:
    """A list, a mapping, a text of several lines; None where it is no YAML."""
    if entry.key in _LISTS and (items := _items(entry)) is not None:
        return items
    source = "\n".join([f"value: {entry.value}", *entry.more, ""])
    try:
        return parse_document(source, "header").data["value"]
    except Invalid:
        return None


def _items(entry: _Entry) -> list[str] | None:
    """A list of scalars, each as its text; None where it is anything else."""
    if not entry.value or entry.value[0] == "#":
        found = [_ITEM.fullmatch(line) for line in entry.more if line.strip(SPACES)]
        texts = [_one_scalar((match[1] or "").strip(SPACES))[0] if match else None for match in found]
    elif entry.value[0] == "[" and entry.value[-1] == "]" and not any(map(str.strip, entry.more)):
        inner = entry.value[1:-1].strip(SPACES)
        texts = [_one_scalar(part.strip(SPACES))[0] for part in inner.split(",")] if inner else []
    else:
        return None
    return [text for text in texts if text is not None] if None not in texts else None


def _source(entry: _Entry) -> str:
    return "\n".join([entry.value, *entry.more]).strip(SPACES)


def _guessed(text: str) -> str | int | float | bool:
    """A plain scalar of a key that the format does not know: a number only where nothing of its text is lost."""
    if text in _BOOLS:
        return _BOOLS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text
