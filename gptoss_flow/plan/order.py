"""The order of the graph: topological, the file's order breaking ties; cycles found and named."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import networkx as nx

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.lang.document import Path

MAX_SHOWN = 100
"""How many edges of a circle a message names."""


@dataclass(frozen=True, slots=True)
class Edge:
    """`step` uses `needed`, as written at `path`, in the `occurrence`-th expression of a text."""

    step: str
    needed: str
    tolerant: bool
    path: Path
    occurrence: int = 0


def in_order(
    steps: Sequence[str], edges: Sequence[Edge], place: Callable[[Path, int], Mark]
) -> tuple[list[str], list[Problem]]:
    """The steps, each after those it needs; and one problem for each group of steps that need each other.

    `place` says where an edge is written.
    """
    order = _sorted(steps, edges)
    if len(order) == len(steps):
        return order, []
    graph: nx.DiGraph[str] = nx.DiGraph((edge.needed, edge.step) for edge in edges)
    first: dict[tuple[str, str], Mark] = {}
    for mark, edge in sorted(((place(e.path, e.occurrence), e) for e in edges), key=lambda pair: pair[0]):
        first.setdefault((edge.step, edge.needed), mark)
    knots = (group for group in nx.strongly_connected_components(graph) if len(group) > 1 or _loops(graph, group))
    return list(steps), [_cycle(graph, group, first) for group in knots]


def _sorted(steps: Sequence[str], edges: Sequence[Edge]) -> list[str]:
    """Of the steps that may run next always the first in the file; without those on a cycle or behind one."""
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


def _loops(graph: nx.DiGraph[str], group: set[str]) -> bool:
    return any(graph.has_edge(step, step) for step in group)


def _cycle(graph: nx.DiGraph[str], group: set[str], first: dict[tuple[str, str], Mark]) -> Problem:
    found = nx.find_cycle(graph.subgraph(group))
    # networkx walks from needed to needing; people read "a needs b".
    edges = [(needing, needed) for needed, needing, *_ in reversed(found)]
    start = min(range(len(edges)), key=lambda i: first[edges[i]])
    edges = edges[start:] + edges[:start]
    if len(edges) == 1:
        step = edges[0][0]
        return Problem(
            first[edges[0]], f'step "{step}" needs itself: {step} -> {step}', "see its own result as output"
        )
    shown, more = edges[:MAX_SHOWN], len(edges) - MAX_SHOWN
    names = " -> ".join([edges[0][0], *(needed for _, needed in shown)])
    lines = ", ".join(f'"{a}" needs "{b}" at line {first[a, b].line}' for a, b in shown)
    if more > 0:
        names, lines = f"{names} -> … -> {edges[0][0]}", f"{lines}, and {more:,} more"
    return Problem(first[edges[0]], f"steps need each other in a circle: {names} ({lines})", "remove one of these")
