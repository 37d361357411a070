"""Steps that need each other in a circle: each such group found and told, with the places of its edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import networkx as nx

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.lang.document import Path
from gptoss_flow.plan.order import Edge

MAX_SHOWN = 100
"""How many edges of a circle a message names."""


def circles(edges: Sequence[Edge], place: Callable[[Path, int], Mark]) -> list[Problem]:
    """One problem for each group of steps that need each other. `place` says where an edge is written."""
    graph: nx.DiGraph[str] = nx.DiGraph((edge.needed, edge.step) for edge in edges)
    first: dict[tuple[str, str], Mark] = {}
    for mark, edge in sorted(((place(e.path, e.occurrence), e) for e in edges), key=lambda pair: pair[0]):
        first.setdefault((edge.step, edge.needed), mark)
    knots = (group for group in nx.strongly_connected_components(graph) if len(group) > 1 or _loops(graph, group))
    return [_cycle(graph, group, first) for group in knots]


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
