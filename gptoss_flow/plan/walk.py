"""One flow while the frontier walks it: which steps have ended, which wait for others, which items are fed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gptoss_flow.events import OutcomeWord
from gptoss_flow.plan.plan import Node, Plan

Ending = Literal["succeeded", "handled", "skipped", "blocked"]
"""What a step's end means below it. `handled`: a failure that lets them run; `blocked`: one that lets none."""


@dataclass(slots=True)
class FanOut:
    """The items of a step: `fed` of `count` are ready or beyond, `running` of them have begun and not ended."""

    count: int
    limit: int
    fed: int = 0
    running: int = 0
    queued: int = 0
    failed_item: int | None = None
    cancelled: bool = False

    @property
    def closed(self) -> bool:
        """No new item starts."""
        return self.failed_item is not None or self.cancelled

    @property
    def wants_more(self) -> bool:
        return not self.closed and self.fed < self.count and self.running + self.queued < self.limit

    @property
    def is_over(self) -> bool:
        """No item runs and none will."""
        return not self.running and (self.closed or (not self.queued and self.fed == self.count))

    @property
    def outcome(self) -> OutcomeWord:
        if self.failed_item is not None:
            return "failed"
        return "cancelled" if self.cancelled else "succeeded"


class Graph:
    """The edges of a plan the other way round. A step that runs last needs only others of its sort."""

    def __init__(self, plan: Plan) -> None:
        nodes = plan.nodes
        self.plan = plan
        self.missing = dict.fromkeys(nodes, 0)
        self.needed_by: dict[str, list[str]] = {node_id: [] for node_id in nodes}
        for node in nodes.values():
            for need in node.needs:
                if nodes[need.step].final == node.final:
                    self.missing[node.id] += 1
                    self.needed_by[need.step].append(node.id)
        self.steps = tuple(node.id for node in nodes.values() if not node.final)
        self.finals = tuple(node.id for node in nodes.values() if node.final)


class Walk:
    """The state of one group. `phase`: its steps, the moment after them, those that run last."""

    def __init__(self, graph: Graph, *, parent: str | None, order: tuple[int, ...]) -> None:
        """`parent`: the group that it is in. `order`: the place in order of the unit that it is inside of."""
        self.plan = graph.plan
        self.parent = parent
        self.order = order
        self.phase: Literal["steps", "between", "finals"] = "steps"
        self.stopped = False
        self.skips_finals = False
        self.fan_outs: dict[str, FanOut] = {}
        self._graph = graph
        self._missing = graph.missing.copy()
        self._ended: dict[str, Ending] = {}
        self._begun = False
        self.left = len(graph.steps)
        """How many steps of the phase have not ended."""

    @property
    def has_finals(self) -> bool:
        return bool(self._graph.finals)

    @property
    def finals_left(self) -> bool:
        return self.has_finals and not self.skips_finals and (self.phase != "finals" or self.left > 0)

    def enter_final(self) -> None:
        self.phase = "finals"
        self.stopped = self.skips_finals
        self._begun = False
        self.left += sum(node_id not in self._ended for node_id in self._graph.finals)

    def ready(self) -> list[str]:
        """The phase begins: the steps of it that need no other."""
        self._begun = True
        return [n for n in self._of_phase() if n not in self._ended and not self._missing[n]]

    def unstarted(self) -> list[str]:
        """Those that have not become ready."""
        begun = self._begun
        return [
            node_id
            for node_id in self._of_phase()
            if node_id not in self._ended and (self._missing[node_id] or not begun)
        ]

    def finish(self, node_id: str, ending: Ending) -> None:
        self._ended[node_id] = ending
        if self.plan.nodes[node_id].final == (self.phase == "finals"):
            self.left -= 1

    def release(self, node_id: str) -> list[str]:
        """Those that waited only for this step, which has ended."""
        found = []
        for dependent in self._graph.needed_by[node_id]:
            self._missing[dependent] -= 1
            if not self._missing[dependent] and dependent not in self._ended:
                found.append(dependent)
        return found

    def obstacle(self, node: Node) -> Ending | None:
        """Why a step can't run: a failure above it ("blocked"), or a skipped step that it can't do without."""
        if self.stopped:
            return "blocked"
        if node.always:
            return None
        found: Ending | None = None
        for need in node.needs:
            if node.final and not self.plan.nodes[need.step].final:
                continue
            ending = self._ended[need.step]
            if ending == "blocked":
                return "blocked"
            if ending == "skipped" and not need.tolerant:
                found = "skipped"
        return found

    def _of_phase(self) -> tuple[str, ...]:
        return self._graph.finals if self.phase == "finals" else self._graph.steps
