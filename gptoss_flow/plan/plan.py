"""The plan: what a flow compiles to. Frozen data that the loop, the frontier and the views read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gptoss_flow.errors import Mark
from gptoss_flow.events import Json
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.ports import Tool
from gptoss_flow.refs import Compiled, Template
from gptoss_flow.steps.base import StepKeys
from gptoss_flow.tool_marks import Effect


@dataclass(frozen=True, slots=True)
class Need:
    """An edge of the graph: this step needs `step`.

    `tolerant`: every use stands under `default(…)` or reads only `.outcome` or `.error`, so that the step runs
    though the one it needs was skipped.
    """

    step: str
    tolerant: bool


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
class Matrix:
    """A `matrix`: the axes in file order, then what is added and left out. Values may be expressions."""

    axes: Values
    """A mapping of axis to list, or to an expression that gives one."""
    include: Values | None
    exclude: Values | None


@dataclass(frozen=True, slots=True)
class RepeatRule:
    """A `repeat`; `max` and `delay` are rendered with the step's other common keys."""

    until: Condition


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a whole run; None: nothing."""

    tokens: int | None = None
    """Prompt tokens computed plus tokens generated."""
    time_s: float | None = None
    concurrency: int | None = None
    tool_calls: int | None = None
    fail_fast: bool = False


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
    """timeout, retry, repeat (but its `until`): rendered for each run of the step or item."""
    when: Condition | None
    foreach: Values | None
    expect: tuple[Condition, ...]
    conditions: tuple[Condition, ...]
    """The kind's own expressions (of a check)."""
    matrix: Matrix | None = None
    """Its items are a matrix's cells. Never together with `foreach`."""
    repeat: RepeatRule | None = None
    fallback: Node | None = None
    """What runs in its place where it failed (`on_error: {fallback: …}`); same id, own kind, body and server."""
    inner: Plan | None = None
    """The flow inside a `flow` step, compiled."""
    tools: tuple[str, ...] = ()
    """What the step grants to its model, as it names it."""
    schema: Mapping[str, Json] | None = None
    """What the file says that a prompt's `schema` names."""
    permissions: Values | None = None
    """The step's own."""
    cache_key: Values | None = None
    """`cache: {key: …}`."""
    effect: Effect = "pure"
    """The step's own `effect`, else its tool's or kind's."""
    final: bool = False
    """A step of `finally`: it runs when all others have ended."""
    items: int = 1
    """How many items a fan-out has, where that is known before the run."""
    fan_out: Values | None = None
    """max_parallel, to be rendered before there are items; None where it is not given."""

    @property
    def always(self) -> bool:
        """Runs however its dependencies ended."""
        return self.step.when == "always"

    @property
    def is_fan_out(self) -> bool:
        return self.foreach is not None or self.matrix is not None

    @property
    def item_name(self) -> str:
        return self.step.as_ or "item"


@dataclass(frozen=True, slots=True)
class ServerRef:
    """A server of the flow: what it was given as (a profile's name or path, or an inline profile)."""

    name: str
    mark: Mark
    profile: Values
    resolved: ResolvedProfile | None = None
    """None where it holds expressions, which need the run's inputs first."""


@dataclass(frozen=True)
class Plan:
    """A compiled flow. `nodes` are in an order in which each stands after those that it needs."""

    name: str
    loaded: LoadedFlow
    nodes: dict[str, Node]
    servers: Mapping[str, ServerRef]
    """Only those that some step uses."""
    vars: tuple[tuple[str, Values], ...]
    """In their order; without those that can only be computed once a server can cut texts, and what uses them."""
    outputs: Mapping[str, Values] | None
    """None: the output of the last step in file order is printed."""
    last_step: str
    """Of `steps`, not of `finally`."""
    late_vars: tuple[tuple[str, Values], ...] = ()
    """The others."""
    tokenizer: str | None = None
    """The server that cuts the texts of late vars and of outputs; None where none are to be cut."""
    limits: Limits = Limits()
    secrets: tuple[str, ...] = ()
    """Environment variables that are secrets: `secrets.NAME` in a tool's arguments."""
    tools: Mapping[str, Tool] = field(default_factory=dict)
    """What the flow's steps name beside built-in tools, by the name as written; of a tool server what is known of
    its tools before it runs."""
    tool_servers: Mapping[str, Values] = field(default_factory=dict)
    """As written, its expressions compiled."""
    permissions: Values | None = None
    """Which calls of tools models may make, beside what steps say."""

    def flows(self) -> Iterator[Plan]:
        """This plan and the ones inside it, each different one once."""
        seen: dict[int, Plan] = {id(self): self}
        todo = [self]
        while todo:
            plan = todo.pop()
            yield plan
            for inner in plan.inner_plans():
                if id(inner) not in seen:
                    seen[id(inner)] = inner
                    todo.append(inner)

    def inner_plans(self) -> Iterator[Plan]:
        """The plans of this one's flow steps and fallbacks; one that several run comes several times."""
        for node in self.nodes.values():
            for one in (node, node.fallback):
                if one is not None and one.inner is not None:
                    yield one.inner

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the flow gives: its `outputs`, else the last step's under its id."""
        return tuple(self.outputs) if self.outputs is not None else (self.last_step,)

    def edges(self) -> list[tuple[str, str]]:
        """Pairs (needed, needing)."""
        return [(need.step, node.id) for node in self.nodes.values() for need in node.needs]

    def unit_mark(self, unit: str) -> Mark | None:
        """The place of the step that a unit is of; None where there is none."""
        node = self.unit_node(unit)
        return None if node is None else node.mark

    def unit_node(self, unit: str) -> Node | None:
        """The step that a unit is of (`each[3]`, `outer[3].inner`); None where there is none."""
        found: Node | None = None
        plans = [self]
        for part in unit.split("."):
            nodes = [node for plan in plans if (node := plan.nodes.get(part.partition("[")[0]))]
            if not nodes:
                return None
            found = nodes[0]
            plans = [one.inner for node in nodes for one in (node, node.fallback) if one and one.inner]
        return found

    def place(self, path: Path, occurrence: int = -1) -> Mark:
        """The place of a value, or of one expression in it."""
        return self.loaded.mark(path) if occurrence < 0 else self.loaded.tag(path, occurrence)


def unit_id(node: str, index: int | None) -> str:
    """A step's id in the record, or an item's: `each[3]`."""
    return node if index is None else f"{node}[{index}]"


Inputs = Mapping[str, Json]
