"""Tools, and a person's decisions on calls of them, that answer from a record: nothing is done again."""

from __future__ import annotations

from collections.abc import Mapping
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
from gptoss_flow.tools.mcp.declared import server_code


@dataclass(frozen=True, slots=True)
class RecordedTool:
    """A tool of a server that is not started: what its model was told of it then."""

    name: str
    description: str
    parameters: Mapping[str, Json]
    effect: Literal["pure", "idempotent", "once"] = "once"
    code: str = ""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        raise AssertionError(f"{self.name} is on record, and no longer there")


class RecordedServers:
    """`app.tools.OfServers` over a record: what models were told of tools then, by name."""

    def __init__(self, told: Mapping[str, Mapping[str, Json]]) -> None:
        self._told = told

    def tools(self, plan: Plan) -> dict[str, Tool]:
        found: dict[str, Tool] = {}
        for name, told in self._told.items():
            server, _, tool = name.partition(".")
            given = plan.loaded.data["tool_servers"][server] if server in plan.tool_servers else None
            if given is not None and tool in (given.get("tools") or (tool,)):
                described, parameters = str(told.get("description", "")), told.get("parameters") or {}
                found[name] = RecordedTool(name, described, parameters, code=server_code(given, tool))
        return found


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
