"""What the names of a flow's tools mean, resolved once when the flow is compiled.

A flow is trusted as a program is, so its own Python files are imported here, to learn their schemas; no tool
server is started. Of another's flow nothing is imported (`stand_ins`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.tool_names import OwnTools, named_tools
from gptoss_flow.ports import Tool
from gptoss_flow.tools.function import NotAToolError
from gptoss_flow.tools.installed import installed_tools, owner_of
from gptoss_flow.tools.mcp.declared import DeclaredTool, declared_tools, server_problems
from gptoss_flow.tools.mcp.listing import Pinned
from gptoss_flow.tools.names import (
    FUNCTION_HINT,
    FileFunction,
    ModuleFunction,
    Other,
    ServerTool,
    meaning,
)
from gptoss_flow.tools.user_code import UserCode
from gptoss_flow.words import suggest

Pins = Callable[[LoadedFlow], Mapping[str, Pinned]]
"""What the lock of a flow has of its tool servers' tools, by the server's name."""


def nothing_pinned(loaded: LoadedFlow) -> Mapping[str, Pinned]:
    return {}


def own_tools(loaded: LoadedFlow, builtin: Mapping[str, Tool], pins: Pins = nothing_pinned) -> OwnTools:
    """The tools that this flow names and that are not among `builtin`, which none of them can shadow."""
    names = FlowNames.of(loaded, builtin, pins)
    tools: dict[str, Tool] = {}
    problems = [*server_problems(loaded, names.servers, names.groups)]
    for named in named_tools(loaded.data):
        if named.name in builtin or named.name in tools or (named.granted and named.name in names.groups):
            continue
        try:
            tools |= names.meant(named.name, loaded.mark(named.path), granted=named.granted)
        except NotAToolError as error:
            problems += error.problems
            # Told once, here: to the compiler it is a tool of which nothing is known.
            tools[named.name] = DeclaredTool(named.name)
    if tools:
        problems += _short_names(loaded, tools, {*builtin, *names.groups})
    return OwnTools(tools, tuple(problems))


def stand_ins(loaded: LoadedFlow, builtin: Mapping[str, Tool]) -> OwnTools:
    """Something for each name, with nothing imported: what else is wrong with the flow can be told."""
    names = (each.name for each in named_tools(loaded.data) if each.name not in builtin)
    return OwnTools({name: DeclaredTool(name) for name in names})


class FlowNames:
    """What can be named in one flow, or, where there is none, in a folder."""

    def __init__(
        self,
        folder: Path,
        shown: Path,
        builtin: Mapping[str, Tool],
        servers: Mapping[str, Any],
        pins: Mapping[str, Pinned],
    ) -> None:
        """Files are named relative to `folder`, which messages call `shown`."""
        self.servers = servers
        self.groups = {name.partition(".")[0] for name in builtin}
        self._builtin, self._pins = builtin, pins
        self._code = UserCode(folder, shown)

    @classmethod
    def of(cls, loaded: LoadedFlow, builtin: Mapping[str, Tool], pins: Pins = nothing_pinned) -> FlowNames:
        given = loaded.data.get("tool_servers")
        servers: dict[str, Any] = given if isinstance(given, dict) else {}
        return cls(loaded.folder, loaded.path.parent, builtin, servers, pins(loaded) if servers else {})

    def meant(self, name: str, mark: Mark | None, *, granted: bool = False) -> Mapping[str, Tool]:
        """The tool of this name; of a whole server, which can only be `granted`, each that is known.

        Raises `NotAToolError` with the reason, at `mark` or in the code itself.
        """
        if name in self._builtin:
            return {name: self._builtin[name]}
        try:
            meant = meaning(name, self.servers)
        except ValueError as error:
            raise NotAToolError(Problem(mark, str(error), FUNCTION_HINT)) from None
        match meant:
            case FileFunction() | ModuleFunction():
                return {name: self._code.tool(meant, mark)}
            case ServerTool(server):
                pinned = self._pins.get(server)
                return declared_tools(meant, name, mark, self.servers[server], pinned, granted=granted)
            case Other():
                return self._installed(name, mark)

    def _installed(self, name: str, mark: Mark | None) -> Mapping[str, Tool]:
        found = installed_tools()
        entries = found.get(name, [])
        if not entries:
            allowed: Collection[str] = [*self._builtin, *self.servers, *found]
            hint = FUNCTION_HINT if name.endswith(".py") else suggest(name, allowed)
            raise NotAToolError(Problem(mark, f'"{name}" is not a tool', hint))
        if len({entry.value for entry in entries}) > 1:
            owners = " and ".join(owner_of(entry) for entry in entries)
            raise NotAToolError(
                Problem(mark, f'"{name}" is a tool of {owners}', f"name the function itself: {entries[0].value}")
            )
        try:
            meant = meaning(entries[0].value)
        except ValueError as error:
            raise NotAToolError(Problem(mark, f'"{name}" of {owner_of(entries[0])}: {error}')) from None
        if not isinstance(meant, ModuleFunction):
            said = f'"{name}" of {owner_of(entries[0])} is {entries[0].value}, not package.module:function'
            raise NotAToolError(Problem(mark, said))
        return {name: replace(self._code.tool(meant, mark), name=name)}


def _short_names(loaded: LoadedFlow, tools: Mapping[str, Tool], builtin: Collection[str]) -> Iterator[Problem]:
    """What a model calls a tool must mean one tool, and never seem to be one of ours."""
    taken: dict[str, str] = {}
    for named in named_tools(loaded.data):
        tool = tools.get(named.name)
        if tool is None or isinstance(tool, DeclaredTool):
            continue
        mark = loaded.mark(named.path)
        other = taken.setdefault(tool.name, named.name)
        if tool.name in builtin:
            said = f'"{named.name}" is called {tool.name}, as a built-in tool is'
            yield Problem(mark, said, "give the function another name")
        elif other != named.name:
            said = f'"{named.name}" and "{other}" are both called {tool.name}'
            yield Problem(mark, said, "give one of the functions another name")
