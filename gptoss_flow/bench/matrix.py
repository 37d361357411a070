"""The trials of a bench, in their order: each load on each cell, in rounds, shuffled by the seed. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.plan.cells import cells
from gptoss_flow.trials import QUANT, BenchRequest, Load

MAX_TRIALS = 1000
SHORTHANDS = {QUANT: ("model", "quants")}
"""Axes that are no keys of a profile, each with the key whose only entry it is."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A load on a cell. `number` is its place in the file, `case` that within a round."""

    number: int
    case: int
    round: int
    load: Load
    cell: Mapping[str, Json]
    """Empty: the flow's server as it is."""

    @property
    def label(self) -> str:
        return label(self.load, self.cell)


def label(load: Load, cell: Mapping[str, Json]) -> str:
    return ", ".join([*(told for axis, value in cell.items() for told in _told(axis, value)), str(load)])


def _told(axis: str, value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _told(f"{axis}.{key}", inner)
    else:
        yield f"{axis} {json_text(value)}"


def cells_of(matrix: Mapping[str, Json] | None) -> list[Mapping[str, Json]]:
    """The cells of a matrix; without one, the one that changes nothing. Raises `StepError`."""
    if matrix is None:
        return [{}]
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    try:
        found = cells(axes, matrix.get("include"), matrix.get("exclude"))
    except ValueError as error:
        raise StepError("expression", str(error), retryable=False) from None
    if not found:
        raise StepError("expression", "the bench's matrix has no cell", retryable=False)
    return list(found)


def trials_of(asked: BenchRequest) -> list[Trial]:
    """In the order in which they are to run: a whole round before the next one begins. Raises `StepError`."""
    cases = [(load, cell) for cell in cells_of(asked.matrix) for load in asked.loads]
    if len(cases) * asked.rounds > MAX_TRIALS:
        said = f"the bench has {len(cases) * asked.rounds:,} trials; at most {MAX_TRIALS:,} are allowed"
        raise StepError("expression", said, retryable=False)
    draw = random.Random(f"order {asked.seed}")
    found: list[Trial] = []
    for turn in range(asked.rounds):
        batch = [
            Trial(turn * len(cases) + case, case, turn + 1, load, cell) for case, (load, cell) in enumerate(cases)
        ]
        if asked.order == "shuffled":
            draw.shuffle(batch)
        found += batch
    return found


def overlay(cell: Mapping[str, Json]) -> dict[str, Any]:
    """What a cell says, as a profile would: dots lead into mappings, `quant` is the only one of `model.quants`."""
    found: dict[str, Any] = {}
    for axis, value in cell.items():
        path: Sequence[str] = axis.split(".")
        if axis in SHORTHANDS:
            path, value = SHORTHANDS[axis], [value]
        here = found
        for part in path[:-1]:
            here = here.setdefault(part, {})
        if isinstance(value, dict) and isinstance(here.get(path[-1]), dict):
            here[path[-1]].update(value)
        else:
            here[path[-1]] = dict(value) if isinstance(value, dict) else value
    return found
