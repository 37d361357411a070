"""An rlog as JSONL and back, byte for byte: each line as one object that holds it whole beside what it says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.escape import one_line
from gptoss_flow.record.rlog_fields import read_fields
from gptoss_flow.record.rlog_header import Header
from gptoss_flow.record.rlog_lines import SPACES, classify
from gptoss_flow.record.rlog_read import read_rlog

_SNIFFED = 2**20


def is_jsonl(file: BinaryIO) -> bool:
    """Whether a file holds objects and not an rlog, by its first line. Reads on from the start afterwards."""
    file.seek(0)
    first = file.readline(_SNIFFED)
    file.seek(0)
    return first.lstrip()[:1] == b"{"


def to_jsonl(file: BinaryIO) -> Iterator[bytes]:
    """The lines of JSONL that an rlog becomes; any bytes can become some. Raises `RecordError`.

    The first is `{"type": "rlog", "header": {…}}`. Each other one stands for a line of the file, from the first
    one on: `line` (its number), `type`, `content` and the fields that it has, and `raw`, the line itself without
    its LF. A byte that is no UTF-8 is a lone surrogate in it, U+DC80 to U+DCFF. `"newline": false` stands on the
    last one where the file does not end with LF.
    """
    header, _ = read_rlog(file)
    yield _dumped({"type": "rlog", "header": header.values})
    file.seek(0)
    for number, line in enumerate(file, start=1):
        is_whole = line.endswith(b"\n")
        raw = (line[:-1] if is_whole else line).decode("utf-8", "surrogateescape")
        said = _said(raw.removesuffix("\r"), number, header)
        yield _dumped({"line": number, **said, "raw": raw, **({} if is_whole else {"newline": False})})


def _said(text: str, number: int, header: Header) -> dict[str, Any]:
    if number <= header.end_line:
        return {"type": "header" if number >= header.line else "preamble", "content": text.strip(SPACES)}
    kind, content = classify(text)
    return {"type": kind, "content": content, **read_fields(content).given()}


def _dumped(value: dict[str, Any]) -> bytes:
    # Printable ASCII, so that the text of a log can do nothing to a terminal.
    return json.dumps(value).replace("\x7f", r"\u007f").encode() + b"\n"


def to_rlog(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The bytes of the rlog that was converted; only `raw` and `newline` are read. Raises `Invalid`."""
    for number, line in enumerate(file, start=1):
        entry = _entry(line, name, number)
        if number == 1 and entry.get("type") != "rlog":
            raise _invalid(
                name, 1, 'this is no rlog as JSONL: its first line has not the type "rlog"', _hint(entry)
            )
        if number > 1:
            yield _raw(entry, name, number)


def _entry(line: bytes, name: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deep" if isinstance(error, RecursionError) else one_line(str(error))
        raise _invalid(name, number, f"this line is not JSON: {reason}", "give what convert wrote") from None
    if not isinstance(entry, dict):
        raise _invalid(name, number, "this line is not a JSON object", "give what convert wrote")
    return entry


def _hint(entry: dict[str, Any]) -> str:
    if entry.get("type") == "run_started":
        return "it is a run's journal; its rlog lies beside it"
    return 'only what "log convert" made of an rlog can become one again'


def _raw(entry: dict[str, Any], name: str, number: int) -> bytes:
    raw = entry.get("raw")
    if not isinstance(raw, str) or "\n" in raw:
        raise _invalid(
            name, number, '"raw" is not the text of one line', 'each line has its whole text under "raw"'
        )
    try:
        return raw.encode("utf-8", "surrogateescape") + (b"" if entry.get("newline") is False else b"\n")
    except UnicodeEncodeError:
        hint = "only U+DC80 to U+DCFF stand for bytes"
        raise _invalid(name, number, '"raw" holds a surrogate that is no text', hint) from None


def _invalid(name: str, line: int, message: str, hint: str) -> Invalid:
    return Invalid(Problem(Mark(name, line, 1), message, hint))
