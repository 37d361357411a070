"""What holds a fault."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """A fault. `held_by`: tests as `path::name`, below `tests/`, and scenes by their names."""

    fault: str
    held_by: tuple[str, ...]


def row(fault: str, *held_by: str) -> Row:
    return Row(fault, held_by)
