"""The order of the graph: topological, the file's order breaking ties; cycles found and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from gptoss_flow.errors import Mark, Problem


@dataclass(frozen=True, slots=True)
class Edge:
    """`step` uses `needed`, as written at `mark`."""

    step: str
    needed: str
    mark: Mark
    tolerant: bool


def in_order(steps: Sequence[str], edges: Sequence[Edge]) -> tuple[list[str], list[Problem]]:
    """The steps, each after those it needs; and one problem for each group of steps that need each other."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(steps)
    graph.add_edges_from((edge.needed, edge.step) for edge in edges)
    rank = {step: i for i, step in enumerate(steps)}
    try:
        return list(nx.lexicographical_topological_sort(graph, key=rank.__getitem__)), []
    except nx.NetworkXUnfeasible:
        first: dict[tuple[str, str], Mark] = {}
        for edge in sorted(edges, key=lambda edge: edge.mark):
            first.setdefault((edge.step, edge.needed), edge.mark)
        knots = (
            group for group in nx.strongly_connected_components(graph) if len(group) > 1 or _loops(graph, group)
        )
        return list(steps), [_cycle(graph, group, first) for group in knots]


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
    names = " -> ".join([edges[0][0], *(needed for _, needed in edges)])
    lines = ", ".join(f'"{a}" needs "{b}" at line {first[a, b].line}' for a, b in edges)
    return Problem(first[edges[0]], f"steps need each other in a circle: {names} ({lines})", "remove one of these")
