"""Which servers a run needs, and when each of them has served its last step."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection

from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.ports import Models


class Servers:
    """Counts the steps of the run's own flow that may still ask each server; one of no use is released."""

    def __init__(self, plan: Plan, models: Models, left_out: Collection[str]) -> None:
        """`left_out`: steps that do not run."""
        self._models = models
        self._used = {node.id: servers_of(node) for node in plan.nodes.values() if node.id not in left_out}
        self._users = Counter(name for names in self._used.values() for name in names)
        if plan.tokenizer is not None:
            self._users[plan.tokenizer] += 1  # the flow itself, to its end
        self._releases: set[asyncio.Task[None]] = set()
        self.needed = [name for name in plan.servers if self._users[name]]
        """In the plan's order."""
        self.is_closing = False
        """All are about to be closed: none is released on its own any more."""

    def ended(self, node_id: str) -> None:
        """A step of the run's own flow has ended."""
        for name in self._used.get(node_id, ()):
            self._users[name] -= 1
            if not self._users[name] and not self.is_closing:
                task = asyncio.create_task(self._models.release(name))
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)

    async def settled(self) -> None:
        """Wait for the releases that have begun."""
        await asyncio.gather(*self._releases, return_exceptions=True)


def servers_of(node: Node) -> set[str]:
    """The servers that a step may ask: its own, its fallback's, those of the flow inside it."""
    found: set[str] = set()
    for one in (node, node.fallback):
        if one is not None and one.server is not None:
            found.add(one.server)
        if one is not None and one.inner is not None:
            for inner in one.inner.nodes.values():
                found |= servers_of(inner)
            if one.inner.tokenizer is not None:
                found.add(one.inner.tokenizer)
    return found
