"""Aligned columns of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from gptoss_flow.escape import one_line

LEAST = 16
"""Columns that the last one must have to stand beside the others."""
INDENT = "    "
"""Before the last one's lines where they stand below."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows under their head, safe for a terminal: each column as wide as its widest cell, two spaces between.

    Where a `width` is given, the last column is broken into lines that end before it, which stand below the others
    where too little room is left beside them.
    """
    cells = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    if width is None:
        return "\n".join(_line(row, widths) for row in cells)
    room = width - sum(each + 2 for each in widths[:-1])
    if room >= LEAST:
        return "\n".join(_line(line, widths) for row in cells for line in _broken(row, room))
    return "\n".join(line for row in cells for line in (_line(row[:-1], widths[:-1]), *below(row[-1], width)))


def below(text: str, width: int) -> list[str]:
    """A text in lines of its own, indented, that end before this width."""
    return textwrap.wrap(text, max(width, LEAST), initial_indent=INDENT, subsequent_indent=INDENT)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _broken(row: Sequence[str], room: int) -> list[list[str]]:
    first, *rest = textwrap.wrap(row[-1], room) or [""]
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), line] for line in rest)]
