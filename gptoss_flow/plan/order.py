"""The order of the graph: topological, the file's order breaking ties."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_flow.lang.document import Path


@dataclass(frozen=True, slots=True)
class Edge:
    """`step` uses `needed`, as written at `path`, in the `occurrence`-th expression of a text."""

    step: str
    needed: str
    tolerant: bool
    path: Path
    occurrence: int = 0


def in_order(steps: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Of the steps that may run next always the first in the file; without those on a circle or behind one."""
    rank = {step: i for i, step in enumerate(steps)}
    needs: dict[str, set[str]] = {}
    dependents: dict[str, list[str]] = {}
    for edge in edges:
        waiting = needs.setdefault(edge.step, set())
        if edge.needed not in waiting:
            waiting.add(edge.needed)
            dependents.setdefault(edge.needed, []).append(edge.step)
    missing = {step: len(waiting) for step, waiting in needs.items()}
    ready = [i for i, step in enumerate(steps) if step not in needs]
    order = []
    while ready:
        step = steps[heapq.heappop(ready)]
        order.append(step)
        for dependent in dependents.get(step, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                heapq.heappush(ready, rank[dependent])
    return order
