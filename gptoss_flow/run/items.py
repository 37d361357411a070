"""The items of a fan-out: of a `foreach`'s list or mapping, or a matrix's cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, Outcome
from gptoss_flow.fields import RENDERED
from gptoss_flow.plan.cells import cells
from gptoss_flow.plan.plan import Matrix, Node, Plan
from gptoss_flow.refs import Cuts
from gptoss_flow.run.context import Scope, render
from gptoss_flow.steps.base import CommonKeys


@dataclass(slots=True)
class Items:
    """The items of a step while they run."""

    name: str
    """What expressions call an item."""
    keys: Sequence[str | int]
    """Keys of a mapping, else indices."""
    values: Sequence[Json]
    began: float = 0.0
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def scope(self, index: int) -> dict[str, Json]:
        """The names that an item sees beside the others."""
        count = len(self.values)
        loop = {
            "index": index + 1,
            "index0": index,
            "length": count,
            "key": self.keys[index],
            "first": index == 0,
            "last": index == count - 1,
        }
        return {self.name: self.values[index], "loop": loop}

    def shown(self, index: int) -> dict[str, Json]:
        """What tells the item from others: a cell, a mapping's key."""
        if self.name == "matrix":
            return dict(self.values[index])
        return {} if isinstance(self.keys, range) else {"key": self.keys[index]}


def items_of(plan: Plan, node: Node, scope: Scope, cuts: Cuts | None = None) -> Items:
    """Evaluate a `foreach` or `matrix`. Raises `StepError`, `NeedsTokens`."""
    if node.matrix is not None:
        found = _cells(plan, node.matrix, scope, cuts)
        return Items("matrix", range(len(found)), found)
    assert node.foreach is not None
    given = render(plan, node.foreach, scope, cuts)
    if isinstance(given, dict):
        return Items(node.item_name, list(given), list(given.values()))
    if isinstance(given, list):
        return Items(node.item_name, range(len(given)), given)
    said = f"foreach needs a list or mapping, not {_type_name(given)}"
    raise StepError("expression", said, mark=plan.place(node.foreach.path), retryable=False)


def max_parallel(plan: Plan, node: Node, scope: Scope, cuts: Cuts | None = None) -> int | None:
    """How many items the step says may run at once. Raises `StepError`, `NeedsTokens`."""
    if node.fan_out is None:
        return None
    try:
        keys = CommonKeys.model_validate(render(plan, node.fan_out, scope, cuts), context=RENDERED)
    except ValidationError as error:
        first = error.errors()[0]
        said = f"max_parallel: {first['input']!r} {first['msg'].removeprefix('Input ').removeprefix('Value ')}"
        mark = plan.place((*node.body.path, "max_parallel"))
        raise StepError("expression", said, mark=mark, retryable=False) from None
    return None if keys.max_parallel is None else int(keys.max_parallel)


def _cells(plan: Plan, matrix: Matrix, scope: Scope, cuts: Cuts | None) -> list[dict[str, Any]]:
    axes = render(plan, matrix.axes, scope, cuts)
    include = render(plan, matrix.include, scope, cuts) if matrix.include else []
    exclude = render(plan, matrix.exclude, scope, cuts) if matrix.exclude else []
    try:
        return cells(axes, include, exclude)
    except ValueError as error:
        mark = plan.loaded.mark(matrix.axes.path)
        raise StepError("expression", str(error), mark=mark, retryable=False) from None


def _type_name(value: Json) -> str:
    names = {str: "text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
    return names.get(type(value), type(value).__name__)
