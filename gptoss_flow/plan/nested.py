"""Puts plans into each other: which server of the run an inner flow's name means, and how many steps there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gptoss_flow.errors import Problem
from gptoss_flow.plan.plan import Node, Plan, ServerRef

MAX_STEPS = 100_000
"""The most steps of a flow and of all that it runs, each counted as often as it is run."""


MAX_UNITS = 1_000_000
"""The same with the items of each step, as far as they are known: whoever asks for more made a mistake."""


def count_steps(plan: Plan, *, with_items: bool = False) -> int:
    """The steps of a plan and of those inside it, each counted as often as a step runs it.

    `with_items`: each item of a fan-out counts, and all that it runs. Repeats and tries do not: they come one
    after the other, and keep nothing.
    """
    counts: dict[int, int] = {}

    def count(plan: Plan) -> int:
        if id(plan) not in counts:
            counts[id(plan)] = sum(map(count_node, plan.nodes.values()))
        return counts[id(plan)]

    def count_node(node: Node) -> int:
        inside = count(node.inner) if node.inner else 0
        if node.fallback and node.fallback.inner:
            inside += count(node.fallback.inner)
        return (1 + inside) * (node.items if with_items else 1)

    return count(plan)


def with_inner_servers(plan: Plan) -> tuple[Plan, list[Problem]]:
    """The plan, its `servers` those that a step of it or of any flow inside it uses, each by one name."""
    merger = _Merger(plan)
    root = merger.placed(plan, {}, "")
    return replace(
        root, servers={n: ref for n, ref in merger.servers.items() if n in merger.used}
    ), merger.problems


def used_servers(plan: Plan) -> list[str]:
    """The servers that the plan's own steps name, each once, in their order."""
    both = (one for node in plan.nodes.values() for one in (node, node.fallback) if one is not None)
    return list(dict.fromkeys(one.server for one in both if one.server))


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What a server's name means in some flow: a server of the whole run."""

    server: str
    declared: bool
    """A flow wrote it down; else it is the `main` of flows that name none."""


class _Merger:
    def __init__(self, root: Plan) -> None:
        self.root = root
        self.servers: dict[str, ServerRef] = {}
        self.used: dict[str, None] = {}
        self.problems: list[Problem] = []
        self.done: dict[tuple[int, frozenset[tuple[str, _Meaning]]], Plan] = {}

    def placed(self, plan: Plan, outer: Mapping[str, _Meaning], at: str) -> Plan:
        """The plan as it stands in a flow where names mean `outer`; `at` is the step that runs it."""
        key = (id(plan), frozenset(outer.items()))
        if key not in self.done:
            self.done[key] = self._placed(plan, outer, at)
        return self.done[key]

    def _placed(self, plan: Plan, outer: Mapping[str, _Meaning], at: str) -> Plan:
        declared = bool(plan.loaded.data.get("servers"))
        own = used_servers(plan)
        meanings = dict(outer)
        for name in plan.servers if declared else own:
            # The outer flow's server of that name is shared; but one that it only implies does not win over one
            # that the inner flow wrote down.
            if name not in outer or (declared and not outer[name].declared):
                meanings[name] = _Meaning(self._server(plan, name, at), declared)
        nodes = {
            step_id: self._node(node, meanings, f"{at}.{step_id}" if at else step_id)
            for step_id, node in plan.nodes.items()
        }
        placed = replace(plan, nodes=nodes)
        used = used_servers(placed)
        self.used |= dict.fromkeys(used)
        return replace(placed, servers={name: self.servers[name] for name in used if name in self.servers})

    def _node(self, node: Node, meanings: Mapping[str, _Meaning], inside: str) -> Node:
        inner = node.inner and self.placed(node.inner, meanings, inside)
        fallback = node.fallback and self._node(node.fallback, meanings, inside)
        server = meanings[node.server].server if node.server else None
        if inner is node.inner and fallback is node.fallback and server == node.server:
            return node
        return replace(node, inner=inner, fallback=fallback, server=server)

    def _server(self, plan: Plan, name: str, at: str) -> str:
        """The name in the whole run of a server that a flow brings along."""
        ref = plan.servers[name]
        if at and ref.resolved is None:
            said = f'server "{name}" holds expressions, which are not known early enough inside another flow'
            self.problems.append(Problem(ref.mark, said, f'name a server "{name}" in "{self.root.loaded.path}"'))
            return name
        for wanted in (name, f"{at}.{name}"):
            known = self.servers.setdefault(wanted, replace(ref, name=wanted))
            if known.profile is ref.profile or _alike(known, ref):
                return wanted
        raise AssertionError(f"two servers at {at} are called {name}")


def _alike(one: ServerRef, other: ServerRef) -> bool:
    """Whether two servers are run alike, wherever they are written."""
    mine, others = ([a.profile for a in ref.resolved.alternatives] if ref.resolved else [] for ref in (one, other))
    return bool(mine) and mine == others
