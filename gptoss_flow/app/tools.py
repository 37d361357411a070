"""The tools of a flow and of those inside it: what each name means before the run, and while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from gptoss_flow.app.lock_pins import pins_of
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.plan.tool_names import ResolveTools
from gptoss_flow.ports import Tool
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.registry import own_tools


def tools_of(root: LoadedFlow) -> ResolveTools:
    """What names mean beside built-in tools, in a flow and those inside it. Imports their own Python code; starts
    nothing: of tool servers it is known what the lock has of them. Raises `Invalid` where that can't be read."""
    pins = pins_of(root)
    return lambda loaded: own_tools(loaded, TOOLS, pins)


Wrap = Callable[[Tool], Tool]
"""Makes another tool of a tool: one that masks secrets, or that answers from a record."""


class OfServers(Protocol):
    """What knows the tools of a plan's tool servers: the servers that run, or a record of them."""

    def tools(self, plan: Plan) -> dict[str, Tool]: ...


class FlowTools:
    """The tools of a plan and of the plans inside it, as their steps name them; each is wrapped when asked for."""

    def __init__(self, wrap: Wrap | None = None, servers: OfServers | None = None) -> None:
        self._wrap, self._servers = wrap, servers

    def of(self, plan: Plan) -> Mapping[str, Tool]:
        if not plan.tools:
            return _PlanTools(lambda: TOOLS, self._wrap) if self._wrap else TOOLS
        return _PlanTools(lambda: {**TOOLS, **plan.tools, **self._of_servers(plan)}, self._wrap)

    def _of_servers(self, plan: Plan) -> dict[str, Tool]:
        """Once they run, what they are; before that, what the plan has in their place."""
        return self._servers.tools(plan) if self._servers else {}


class _PlanTools(Mapping[str, Tool]):
    """`now` tells what there is: a tool server may list its tools later than this is made."""

    def __init__(self, now: Callable[[], Mapping[str, Tool]], wrap: Wrap | None) -> None:
        self._now, self._wrap = now, wrap

    def __getitem__(self, name: str) -> Tool:
        tool = self._now()[name]
        return self._wrap(tool) if self._wrap else tool

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())
