"""Mends what can be mended in an rlog without inventing anything: line ends, arrows, markers, stray lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from gptoss_flow.record.rlog_header import Header
from gptoss_flow.record.rlog_lines import LineType, classify

BOM = b"\xef\xbb\xbf"
KEPT_CHANGES = 1000

_ARROW = re.compile(r"(?<=[ \t])->(?=[ \t]*\[)")
_REDACTED = re.compile(r"\[REDACTED(?::(\w+))?\]", re.ASCII)
_MEANT_AS_EVENT = re.compile(r"(?:[spmxc]|t[!~]?):|@")
"""An unknown line that begins so was meant as an event of its own and not as text."""
_CALLS: frozenset[LineType] = frozenset({
    "tool", "tool_start", "tool_progress", "observation", "skill", "plan", "recall", "subagent", "mcp", "question",
})  # fmt: skip


@dataclass(slots=True)
class Changes:
    """What was mended: the first `KEPT_CHANGES` as line and words, and how many there are in all."""

    count: int = 0
    described: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, what: str) -> None:
        self.count += 1
        if len(self.described) < KEPT_CHANGES:
            self.described.append((line, what))


def mend(file: BinaryIO, header: Header, changes: Changes) -> Iterator[bytes]:
    """The mended lines of a file that is read from its start; each change is told to `changes`.

    A raw newline in a text leaves lines that the format does not know; they become continuations of the event
    above, indented by two spaces. What only its writer can know (an empty id, the end of a call) stays.
    """
    event: LineType | None = None
    for number, line in enumerate(file, start=1):
        text, mended = _as_text(line, number, changes)
        if number > header.end_line:
            kind, _ = classify(text)
            if kind == "unknown" and event is not None and not _MEANT_AS_EVENT.match(text.lstrip()):
                changes.add(number, "a line that is no event became a continuation of the one above")
                text, mended = f"  {text}", True
            elif kind not in ("empty", "continuation", "unknown"):
                event = kind
            if kind in _CALLS and "→" not in text and (arrow := _ARROW.search(text)):
                changes.add(number, 'the arrow "->" before the result became "→"')
                text, mended = f"{text[: arrow.start()]}→{text[arrow.end() :]}", True
            if "[REDACTED" in text and (marked := _REDACTED.sub(_marker, text)) != text:
                changes.add(number, "[REDACTED] became the marker that the format knows")
                text, mended = marked, True
        yield text.encode() + b"\n" if mended else line


def _as_text(line: bytes, number: int, changes: Changes) -> tuple[str, bool]:
    """A line without its end, and whether its bytes have to change."""
    mended = False
    if not line.endswith(b"\n"):
        changes.add(number, "the newline at the end of the file was missing")
        mended = True
    elif line.endswith(b"\r\n"):
        changes.add(number, "the line ended with CR LF")
        mended = True
    line = line.removesuffix(b"\n").removesuffix(b"\r") if line.endswith(b"\r\n") else line.removesuffix(b"\n")
    try:
        return line.decode("utf-8"), mended
    except UnicodeDecodeError:
        changes.add(number, r"bytes that are no UTF-8 became escapes such as \xff")
        return line.decode("utf-8", "backslashreplace"), True


def _marker(found: re.Match[str]) -> str:
    return f"[redacted:{found[1] or 'secret'}]"
