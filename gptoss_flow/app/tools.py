"""The tools of a flow and of those inside it: what each name means before the run, and while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.plan.tool_names import OwnTools
from gptoss_flow.ports import Tool
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.registry import own_tools


def tools_of_flow(loaded: LoadedFlow) -> OwnTools:
    """What the flow's names mean beside built-in tools. Imports the flow's own Python code; starts nothing."""
    return own_tools(loaded, TOOLS)


Wrap = Callable[[Tool], Tool]
"""Makes another tool of a tool: one that masks secrets, or that answers from a record."""


class FlowTools:
    """The tools of a plan and of the plans inside it, as their steps name them; each is wrapped when asked for."""

    def __init__(self, wrap: Wrap | None = None) -> None:
        self._wrap = wrap

    def of(self, plan: Plan) -> Mapping[str, Tool]:
        return _PlanTools(lambda: {**TOOLS, **plan.tools}, self._wrap) if plan.tools or self._wrap else TOOLS


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
