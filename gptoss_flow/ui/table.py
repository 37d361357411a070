"""Aligned columns of text."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

from gptoss_flow.escape import one_line

LEAST = 16
"""Columns that the last one must have to be broken into lines."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Rows under their head, safe for a terminal: each column as wide as its widest cell, two spaces between.

    Where a `width` is given, the last column is broken into lines that end before it.
    """
    cells = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    if width is not None and (room := width - sum(each + 2 for each in widths[:-1])) >= LEAST:
        cells = [line for row in cells for line in _broken(row, room)]
        widths[-1] = room
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _broken(row: Sequence[str], room: int) -> list[list[str]]:
    first, *rest = textwrap.wrap(row[-1], room) or [""]
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), line] for line in rest)]
