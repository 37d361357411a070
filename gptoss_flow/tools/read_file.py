"""The tool `read_file`: the text of one file, or of some of its lines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.workspace import Place, locate, read_text, refusal

UNASKED_BYTES = 1 << 20
"""A larger file is refused unless the caller says how much of it he wants: nothing is cut silently."""
MAX_BYTES = 16 << 20


class ReadFile(Arguments):
    path: Annotated[str, Field(min_length=1)]
    """The file, relative to the workspace."""
    max_bytes: Annotated[int, Field(ge=1, le=MAX_BYTES)] | None = None
    """The most bytes to give back, cut after a whole line. Without it a file of more than 1 MiB is refused."""
    start_line: Annotated[int, Field(ge=1)] | None = None
    """The first line to give back, counted from 1."""
    end_line: Annotated[int, Field(ge=1)] | None = None
    """The last line to give back."""

    @model_validator(mode="after")
    def _lines_in_order(self) -> ReadFile:
        if self.start_line and self.end_line and self.end_line < self.start_line:
            raise ValueError(f"end_line {self.end_line} comes before start_line {self.start_line}")
        return self


def read(arguments: ReadFile, context: ToolContext) -> str:
    place = locate(arguments.path, context)
    by_line = bool(arguments.start_line or arguments.end_line)
    most = arguments.max_bytes or UNASKED_BYTES
    text, size = read_text(place, MAX_BYTES if by_line else most)
    if text is None:
        raise refusal(f"{place} is not a text file in UTF-8")
    if by_line:
        text = _lines(text, arguments, place, complete=size <= MAX_BYTES)
    elif size > UNASKED_BYTES and arguments.max_bytes is None:
        raise refusal(
            f"{place} has {size:,} bytes, more than {UNASKED_BYTES:,}; "
            "say how much of it with max_bytes, or with start_line and end_line"
        )
    return cut(text, most, more=not by_line and size > most)


def cut(text: str, max_bytes: int, *, more: bool = False) -> str:
    """The text's first `max_bytes` in UTF-8 at most, cut after a line, or after a character if one line is longer.

    `more`: the text is itself only the beginning of something.
    """
    data = text.encode()
    if len(data) > max_bytes:
        text, more = data[:max_bytes].decode(errors="ignore"), True
    return text[: text.rfind("\n") + 1] or text if more else text


def _lines(text: str, arguments: ReadFile, place: Place, *, complete: bool) -> str:
    lines = text.split("\n")
    first, last = arguments.start_line or 1, arguments.end_line or len(lines)
    if not complete and last >= len(lines):
        raise refusal(
            f"{place}: line {last} lies beyond the first {MAX_BYTES:,} bytes, which are all that is read"
        )
    if first > len(lines):
        raise refusal(f"{place} has {len(lines)} lines; start_line {first} lies beyond them")
    wanted = "\n".join(lines[first - 1 : last])
    return wanted + "\n" if last < len(lines) else wanted


READ_FILE = BuiltIn(
    name="read_file",
    description="Read a text file of the workspace, or some of its lines.",
    effect="pure",
    arguments=ReadFile,
    work=read,
)
