"""The cells of a matrix, by GitHub Actions' rules: the product of the axes, less `exclude`, then `include`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import prod
from typing import Any

from gptoss_flow.events import Json

MAX_CELLS = 10_000
MAX_LOOKED_UP = 1_000_000
"""How many cells may be sorted by the axes that entries name: each set of names costs all of them."""

Cell = dict[str, Json]


def cells(axes: Mapping[str, Json], include: Json = None, exclude: Json = None) -> list[Cell]:
    """The cells in order: the product, its last axis fastest, then what `include` adds.

    An entry of `exclude` leaves out every cell that has all its values. An entry of `include` extends every cell
    of the product whose axes it does not contradict; where there is none, it is a cell of its own. Raises
    `ValueError` with what is wrong, before anything is built where there would be more than 10,000.
    """
    for name, values in axes.items():
        if not isinstance(values, list):
            raise ValueError(f'the axis "{name}" of matrix needs a list, not {_kind(values)}')
    added, left_out = _entries("include", include), _entries("exclude", exclude)
    for entry in left_out:
        for name in entry:
            if name not in axes:
                raise ValueError(f'"exclude" names "{name}", which is no axis of matrix; axes: {", ".join(axes)}')
    count = prod(len(values) for values in axes.values()) if axes else 0
    if count > MAX_CELLS or len(added) > MAX_CELLS or len(left_out) > MAX_CELLS:
        most = max(count, len(added), len(left_out))
        raise ValueError(f"matrix would have {most:,} cells; at most {MAX_CELLS:,} are allowed")
    made = [dict(zip(axes, values, strict=True)) for values in product(*axes.values())] if axes else []
    excluded = {id(cell) for _, found in _matches(left_out, made, axes) for cell in found}
    made = [cell for cell in made if id(cell) not in excluded]
    alone = []
    for entry, found in _matches(added, made, axes):
        for cell in found:
            cell.update(entry)
        if not found:
            alone.append(dict(entry))
    if len(made) + len(alone) > MAX_CELLS:
        raise ValueError(f"matrix would have {len(made) + len(alone):,} cells; at most {MAX_CELLS:,} are allowed")
    return made + alone


def _entries(key: str, given: Json) -> list[Cell]:
    if given is None:
        return []
    if not isinstance(given, list):
        raise ValueError(f'"{key}" of matrix needs a list, not {_kind(given)}')
    for entry in given:
        if not isinstance(entry, dict):
            raise ValueError(f'an entry of "{key}" of matrix is a mapping of axis to value, not {_kind(entry)}')
    return given


def _matches(
    entries: Iterable[Cell], made: list[Cell], axes: Mapping[str, Json]
) -> Iterator[tuple[Cell, list[Cell]]]:
    """Each entry with the cells that have its values of the axes.

    Cells are looked up by the axes that an entry names: comparing each with each would take 10,000 times 10,000.
    """
    by_names: dict[tuple[str, ...], dict[str, list[Cell]]] = {}
    for entry in entries:
        names = tuple(name for name in axes if name in entry)
        if names not in by_names:
            if len(by_names) * len(made) > MAX_LOOKED_UP:
                raise ValueError('"include" and "exclude" of matrix name too many different sets of axes')
            index = by_names[names] = {}
            for cell in made:
                index.setdefault(_identity(cell, names), []).append(cell)
        yield entry, by_names[names].get(_identity(entry, names), [])


def _identity(cell: Cell, names: tuple[str, ...]) -> str:
    return json.dumps([cell[name] for name in names], sort_keys=True)


def _kind(value: Any) -> str:
    names = {str: "text", dict: "a mapping", list: "a list", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
