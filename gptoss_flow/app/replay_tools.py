"""Tools, and a person's decisions on calls of them, that answer from a record: nothing is done again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from gptoss_flow.app.replay import Apart, Replayed
from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Ask, Asking, Tool, ToolContext
from gptoss_flow.record.differences import excerpt
from gptoss_flow.record.tape import Tape, failure_of
from gptoss_flow.tool_marks import Effect
from gptoss_flow.tools.mcp.declared import server_code


@dataclass(frozen=True, slots=True)
class RecordedTool:
    """A tool of a server that is not started: what its model was told of it then."""

    name: str
    description: str
    parameters: Mapping[str, Json]
    effect: Effect = "once"
    code: str = ""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        raise AssertionError(f"{self.name} is on record, and no longer there")


class RecordedServers:
    """`app.tools.OfServers` over a record: what models were told of tools then."""

    def __init__(self, root: Plan, told: Mapping[str, Mapping[str, Mapping[str, Json]]]) -> None:
        """`told`: by step, as the record has them, and by name."""
        self._of_flow: dict[int, dict[str, Mapping[str, Json]]] = defaultdict(dict)
        self._anywhere: dict[str, Mapping[str, Json]] = {}
        for step, tools in told.items():
            self._anywhere |= tools
            for plan in _plans_of(root, step.split(".")):
                self._of_flow[id(plan.loaded)] |= tools

    def tools(self, plan: Plan) -> dict[str, Tool]:
        """Servers of two flows may share a name: what another flow's models were told is the second choice."""
        found: dict[str, Tool] = {}
        own = self._of_flow.get(id(plan.loaded), {})
        known = {name.partition(".")[0] for name in own}
        for name, told in {**self._anywhere, **own}.items():
            server, _, tool = name.partition(".")
            if server not in plan.tool_servers or (server in known and name not in own):
                continue
            given = plan.loaded.data["tool_servers"][server]
            if tool in (given.get("tools") or (tool,)):
                described, parameters = str(told.get("description", "")), told.get("parameters") or {}
                found[name] = RecordedTool(name, described, parameters, code=server_code(given, tool))
        return found


def _plans_of(plan: Plan, path: Sequence[str]) -> Iterator[Plan]:
    """The flows that a step (`outer`, `inner`) may be of: another one may stand in for the flow inside a step."""
    node = plan.nodes.get(path[0])
    if node is None:
        return
    if len(path) == 1:
        yield plan
    for one in (node, node.fallback):
        if one is not None and one.inner is not None and len(path) > 1:
            yield from _plans_of(one.inner, path[1:])


class ReplayedTool:
    """A tool of which only the description is its own; what its calls gave is on the tape."""

    def __init__(self, tool: Tool, replayed: Replayed, *, may_read: bool = False) -> None:
        """`may_read`: a call that is not on record is made, if it changes nothing."""
        self._tool = tool if may_read and tool.effect == "pure" else None
        self._replayed = replayed
        self.name = tool.name
        self.description = tool.description
        self.parameters = tool.parameters
        self.effect = tool.effect
        self.code = tool.code
        self._took: dict[str, float] = {}

    def took_then(self, call_id: str) -> float:
        """How long a call took when it was recorded."""
        return self._took.get(call_id, 0.0)

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        step = context.step
        waiting = self._replayed.tape.called.get(step, ())
        called = next((each for each in waiting if each.call.call_id == context.call_id), None)
        if called is None and self._tool is not None:
            return await self._tool.call(arguments, context)
        if called is None:
            raise self._replayed.apart.at(step, f"the record has no further call of {self.name} by it")
        self._replayed.tape.called[step].remove(called)
        self._took[context.call_id] = called.end.duration_s if called.end else 0.0
        if called.call.tool != self.name:
            raise self._replayed.apart.at(step, f"it calls {self.name}, and called {called.call.tool}")
        now = self._replayed.clean(dict(arguments))
        for name in sorted(now.keys() | called.call.arguments.keys()):
            is_now, was = (json_text(given.get(name)) for given in (now, called.call.arguments))
            if is_now != was:
                raise self._replayed.apart.at(
                    step, f"{name} of {self.name} is {excerpt(is_now)}, and was {excerpt(was)}"
                )
        if called.end is not None and called.end.error is None:
            return called.end.result
        if called.error is None and called.end is not None:
            raise StepError("tool", called.end.error or "")  # its model was told, and went on
        if called.error is None:
            raise self._replayed.apart.at(step, f"the record has no end of this call of {self.name}")
        failure = failure_of(called)
        failure.exit_code = (
            ExitCode.UNAVAILABLE
        )  # whatever it was: what ended a model's turn is none of its to mend
        raise failure


def decided_then(tape: Tape, apart: Apart) -> Ask:
    """A person's decisions as they were recorded: nobody is asked again."""

    async def ask(asking: Asking) -> Literal["approved", "declined", "unasked"]:
        waiting = tape.decided.get(asking.call_id)
        if not waiting:
            raise apart.at(asking.step, f"a person is to decide on {asking.tool}, and was not then")
        return cast('Literal["approved", "declined", "unasked"]', waiting.popleft())

    return ask
