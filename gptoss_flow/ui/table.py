"""Aligned columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from gptoss_flow.escape import one_line


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their head, safe for a terminal: each column as wide as its widest cell, two spaces between."""
    cells = [[one_line(cell) for cell in row] for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
