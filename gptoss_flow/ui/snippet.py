"""Draws a problem with the line of the file that it is about and a caret under the place."""

from __future__ import annotations

import stat
import unicodedata
from pathlib import Path

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.escape import is_unsafe, one_line, visible

WIDTH = 96
"""Columns of a quoted line that are shown; a longer one is cut around the place."""
MAX_BYTES = 4 * 2**20
"""How much of a file is read to find the line."""

_RED, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def render_problem(problem: Problem, text: str | None, color: bool) -> str:
    """The problem as one line, `file:line:col: what; what is allowed`, and the place beneath it.

    `text` is the file's text; without it the file is read, and where that cannot be done the line is all.
    Control characters of the message and of the quoted line are made visible. No newline at the end.
    """
    head = one_line(str(problem))
    mark = problem.mark
    quoted = _quoted(mark, text if text is not None else _read(mark.source)) if mark else None
    if mark is None or quoted is None:
        return f"{_BOLD}{head}{_PLAIN}" if color else head
    line, caret = quoted
    number = str(mark.line)
    gutter = " " * (len(number) + 2)
    blue, red, bold, plain = (_BLUE, _RED, _BOLD, _PLAIN) if color else ("", "", "", "")
    return "\n".join(
        (
            f"{bold}{head}{plain}",
            f"{blue}{gutter}|{plain}",
            f"{blue} {number} |{plain} {line}",
            f"{blue}{gutter}|{plain} {' ' * caret}{red}^{plain}",
        )
    )


def _quoted(mark: Mark, text: str | None) -> tuple[str, int] | None:
    """The marked line as shown and the caret's column (from 0) under it; None if the text has no such line."""
    lines = text.removeprefix("\ufeff").split("\n") if text is not None else []
    if not 0 < mark.line <= len(lines):
        return None
    raw = lines[mark.line - 1].removesuffix("\r")
    cells = [_cell(char) for char in raw]
    place = min(mark.column - 1, len(cells))
    widths = [_width(cell) for cell in cells]
    start, stop = _window(widths, place)
    before = "…" if start else ""
    after = "…" if stop < len(cells) else ""
    return before + "".join(cells[start:stop]) + after, len(before) + sum(widths[start:place])


def _window(widths: list[int], place: int) -> tuple[int, int]:
    """Which characters to show: all of a short line, else those around the place."""
    if sum(widths) <= WIDTH:
        return 0, len(widths)
    start = place
    room = WIDTH // 2
    while start > 0 and (room := room - widths[start - 1]) >= 0:
        start -= 1
    stop, room = place, WIDTH - sum(widths[start:place])
    while stop < len(widths) and (room := room - widths[stop]) >= 0:
        stop += 1
    return start, stop


def _cell(char: str) -> str:
    if char == "\t":
        return "    "
    return visible(char) if is_unsafe(char) else char


def _width(cell: str) -> int:
    """Columns that a terminal gives to what stands for one character."""
    if len(cell) > 1:
        return len(cell)
    if unicodedata.combining(cell) or unicodedata.category(cell) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in ("W", "F") else 1


def _read(source: str) -> str | None:
    """The text of the file that a mark names; None where it is none, or not readable as one."""
    try:
        path = Path(source)
        if not stat.S_ISREG(path.stat().st_mode):
            return None
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
