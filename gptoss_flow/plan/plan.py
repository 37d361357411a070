"""The plan: what a flow compiles to. Frozen data that the loop, the frontier and the views read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_flow.errors import Mark
from gptoss_flow.events import Json
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.refs import Compiled, Template
from gptoss_flow.steps.base import StepKeys


@dataclass(frozen=True, slots=True)
class Need:
    """An edge of the graph: this step needs `step`, as said at `mark`.

    `tolerant`: every use stands under `default(…)` or reads only `.outcome` or `.error`, so that the step runs
    though the one it needs was skipped.
    """

    step: str
    tolerant: bool
    mark: Mark


@dataclass(frozen=True, slots=True)
class Condition:
    """An expression that is asked for its truth, with its place. A constant has no template."""

    text: str
    mark: Mark
    template: Template | None
    constant: bool = True


@dataclass(frozen=True, slots=True)
class Values:
    """A part of the flow whose strings are compiled, with the path that its places are found by."""

    path: Path
    compiled: Compiled


@dataclass(frozen=True, slots=True)
class Node:
    """A step in the graph."""

    id: str
    index: int
    """Its place in the order of the plan."""
    step: StepKeys
    needs: tuple[Need, ...]
    server: str | None
    mark: Mark
    """The step's key in the file."""
    body: Values
    """The kind's own keys, to be rendered for each run of the step or item."""
    common: Values
    """timeout, retry, max_parallel."""
    when: Condition | None
    foreach: Values | None
    expect: tuple[Condition, ...]
    conditions: tuple[Condition, ...]
    """The kind's own expressions (of a check)."""

    @property
    def always(self) -> bool:
        """Runs however its dependencies ended."""
        return self.step.when == "always"

    @property
    def item_name(self) -> str:
        return self.step.as_ or "item"


@dataclass(frozen=True, slots=True)
class ServerRef:
    """A server of the flow: what it was given as (a profile's name or path, or an inline profile)."""

    name: str
    mark: Mark
    profile: Values


@dataclass(frozen=True)
class Plan:
    """A compiled flow. `nodes` are in an order in which each stands after those that it needs."""

    name: str
    loaded: LoadedFlow
    nodes: dict[str, Node]
    servers: Mapping[str, ServerRef]
    """Only those that some step uses."""
    vars: tuple[tuple[str, Values], ...]
    outputs: Mapping[str, Values] | None
    """None: the output of the last step in file order is printed."""
    last_step: str

    def edges(self) -> list[tuple[str, str]]:
        """Pairs (needed, needing)."""
        return [(need.step, node.id) for node in self.nodes.values() for need in node.needs]

    def place(self, path: Path, occurrence: int = -1) -> Mark:
        """The place of a value, or of one expression in it."""
        return self.loaded.mark(path) if occurrence < 0 else self.loaded.tag(path, occurrence)


def unit_id(node: str, index: int | None) -> str:
    """A step's id in the record, or an item's: `each[3]`."""
    return node if index is None else f"{node}[{index}]"


Inputs = Mapping[str, Json]
