"""What the names of a flow's tools mean, resolved once when the flow is compiled.

A flow is trusted as a program is, so its own Python files are imported here, to learn their schemas; no tool
server is started. Of another's flow nothing is imported (`stand_ins`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.tool_names import NamedTool, OwnTools, named_tools
from gptoss_flow.ports import Tool
from gptoss_flow.tools.function import NotAToolError
from gptoss_flow.tools.installed import installed_tools, owner_of
from gptoss_flow.tools.mcp.declared import DeclaredTool, declared_tools, server_problems
from gptoss_flow.tools.mcp.listing import Pinned
from gptoss_flow.tools.names import (
    FUNCTION_HINT,
    MODEL_NAME,
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
    return _Resolver(loaded, builtin, pins).resolved()


def stand_ins(loaded: LoadedFlow, builtin: Mapping[str, Tool]) -> OwnTools:
    """Something for each name, with nothing imported: what else is wrong with the flow can be told."""
    names = (each.name for each in named_tools(loaded.data) if each.name not in builtin)
    return OwnTools({name: DeclaredTool(name) for name in names})


class _Resolver:
    def __init__(self, loaded: LoadedFlow, builtin: Mapping[str, Tool], pins: Pins) -> None:
        self.loaded, self.builtin = loaded, builtin
        self.groups = {name.partition(".")[0] for name in builtin}
        given = loaded.data.get("tool_servers")
        self.servers: dict[str, Any] = given if isinstance(given, dict) else {}
        self.pins = pins(loaded) if self.servers else {}
        self.code = UserCode(loaded.folder, Path(loaded.path).parent)
        self.tools: dict[str, Tool] = {}
        self.problems: list[Problem] = []
        self.broken: set[str] = set()

    def resolved(self) -> OwnTools:
        self.problems += server_problems(self.loaded, self.servers, self.groups)
        for named in named_tools(self.loaded.data):
            if named.name in self.builtin or (named.granted and named.name in self.groups):
                continue
            if named.name not in self.tools and named.name not in self.broken:
                try:
                    self.tools |= self._meant(named)
                except NotAToolError as error:
                    self.problems += error.problems
                    self.broken.add(named.name)
                    # Told once, here: to the compiler it is a tool of which nothing is known.
                    self.tools[named.name] = DeclaredTool(named.name)
        self._check_short_names()
        return OwnTools(self.tools, tuple(self.problems))

    def _meant(self, named: NamedTool) -> Mapping[str, Tool]:
        mark = self.loaded.mark(named.path)
        try:
            meant = meaning(named.name, self.servers)
        except ValueError as error:
            raise NotAToolError(Problem(mark, str(error), FUNCTION_HINT)) from None
        match meant:
            case FileFunction() | ModuleFunction():
                return {named.name: self.code.tool(meant, mark)}
            case ServerTool():
                return declared_tools(meant, named, mark, self.servers[meant.server], self.pins.get(meant.server))
            case Other():
                return self._installed(meant.name, mark)

    def _installed(self, name: str, mark: Mark) -> Mapping[str, Tool]:
        found = installed_tools()
        entries = found.get(name, [])
        if not entries:
            allowed: Collection[str] = [*self.builtin, *self.servers, *found]
            raise NotAToolError(Problem(mark, f'"{name}" is not a tool', suggest(name, allowed)))
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
        return {name: replace(self.code.tool(meant, mark), name=name)}

    def _check_short_names(self) -> None:
        """What a model calls a tool must mean one tool, and never seem to be one of ours."""
        taken: dict[str, str] = {}
        for named in named_tools(self.loaded.data):
            tool = self.tools.get(named.name)
            if tool is None or isinstance(tool, DeclaredTool):
                continue
            mark = self.loaded.mark(named.path)
            other = taken.setdefault(tool.name, named.name)
            if not MODEL_NAME.fullmatch(tool.name) or tool.name in self.groups or tool.name in self.builtin:
                said = f'"{named.name}" is called {tool.name}, as a built-in tool is'
                self.problems.append(Problem(mark, said, "give the function another name"))
            elif other != named.name:
                said = f'"{named.name}" and "{other}" are both called {tool.name}'
                self.problems.append(Problem(mark, said, "give one of the functions another name"))
