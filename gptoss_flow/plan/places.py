"""Places: the slots of servers, the cores, and who waits for one. Free places go to those first in order."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from gptoss_flow.plan.decisions import Unit
from gptoss_flow.plan.plan import Node

LOOP_PLACES = 64
"""How many steps that occupy nothing run at once: enough to hide a wait, few enough to stay cheap."""


class Waiting(NamedTuple):
    """A unit in line for a place. No two have the same order."""

    order: tuple[int, ...]
    unit: Unit
    fallback: bool


@dataclass(slots=True)
class _Resource:
    """`capacity` units have a place at once, the rest wait."""

    capacity: int
    used: int = 0
    line: list[Waiting] = field(default_factory=list)


class Places:
    """All places of a run, and how many of them may be taken at once in all (`concurrency`)."""

    def __init__(self, slots: Mapping[str, int], cores: int, concurrency: int | None) -> None:
        self._resources = {f"server {name}": _Resource(count) for name, count in slots.items()}
        self._resources |= {"cores": _Resource(cores), "loop": _Resource(LOOP_PLACES)}
        self._widest = max([cores, *slots.values()])
        self._free = concurrency
        self._held: dict[Unit, _Resource] = {}

    def capacity(self, node: Node) -> int:
        """How many units of this step can run at once; where it needs no place, the most that any resource has."""
        resource = self._of(node)
        return resource.capacity if resource else self._widest

    def wait(self, node: Node, waiting: Waiting) -> bool:
        """Stand in line; false where this step needs no place."""
        resource = self._of(node)
        if resource is None:
            return False
        heapq.heappush(resource.line, waiting)
        return True

    def next(self) -> Waiting | None:
        """The first of those for whom there is a free place; it leaves the line and has the place."""
        if self._free == 0:
            return None
        free = [one for one in self._resources.values() if one.line and one.used < one.capacity]
        if not free:
            return None
        resource = min(free, key=_first) if len(free) > 1 else free[0]
        waiting = heapq.heappop(resource.line)
        self._held[waiting.unit] = resource
        resource.used += 1
        if self._free is not None:
            self._free -= 1
        return waiting

    def give_back(self, unit: Unit) -> None:
        """Free the place of a unit, if it has one."""
        if resource := self._held.pop(unit, None):
            resource.used -= 1
            if self._free is not None:
                self._free += 1

    def leave(self, is_leaving: Callable[[Waiting], bool]) -> list[Waiting]:
        """These units wait no longer; they are given in order."""
        leaving: list[Waiting] = []
        for resource in self._resources.values():
            gone = [waiting for waiting in resource.line if is_leaving(waiting)]
            if gone:
                leaving += gone
                resource.line = [waiting for waiting in resource.line if not is_leaving(waiting)]
                heapq.heapify(resource.line)
        return sorted(leaving)

    def _of(self, node: Node) -> _Resource | None:
        if node.step.runs_on == "server":
            return self._resources[f"server {node.server}"]
        return self._resources.get(node.step.runs_on)


def _first(resource: _Resource) -> tuple[int, ...]:
    return resource.line[0].order
