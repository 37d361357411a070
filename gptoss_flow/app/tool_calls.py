"""Tools outside of a run: which there are, what one is, and a call of it that a person makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.app.lock_pins import pins_by_flow, pins_of
from gptoss_flow.app.tool_servers import default_scope, server_of, tools_of_server
from gptoss_flow.arguments import check_arguments, fault_alone
from gptoss_flow.errors import FlowError, Invalid, Problem, StepError
from gptoss_flow.events import Json
from gptoss_flow.permissions import Permissions
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Grants, Kept, Tool, ToolContext
from gptoss_flow.run.context import permissions_of
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.function import FunctionTool, NotAToolError
from gptoss_flow.tools.installed import installed_tools, owner_of
from gptoss_flow.tools.mcp.declared import DeclaredTool
from gptoss_flow.tools.names import ServerTool, meaning
from gptoss_flow.tools.registry import FlowNames
from gptoss_flow.words import suggest


@dataclass(frozen=True, slots=True)
class KnownTool:
    """A tool that can be named."""

    name: str
    """As a step names it."""
    owner: str
    """Whose it is: `built in`, a file, `package NAME`, `tool server NAME`."""
    tool: Tool


class ToolFailedError(FlowError):
    """A tool said that it could not do what it was asked to."""

    def __init__(self, error: StepError) -> None:
        super().__init__(*error.message.splitlines())
        self.exit_code = error.exit_code


def known_tools(flow: Path | None, cwd: Path) -> list[KnownTool]:
    """The built-in tools and those of installed packages; of a flow also those that it names, and its servers'.

    Servers that are not pinned are started, and ended. Raises `Invalid`, `Unavailable`.
    """
    plan = check_flow(flow, cwd) if flow is not None else None
    names = _names(plan, cwd)
    found = [KnownTool(name, "built in", tool) for name, tool in TOOLS.items()]
    for name, entries in installed_tools().items():
        if name not in TOOLS:
            found += [KnownTool(name, owner_of(entries[0]), tool) for tool in _meant(names, name).values()]
    if plan is not None:
        found += [
            KnownTool(name, _owner(tool), tool)
            for name, tool in plan.tools.items()
            if not isinstance(tool, DeclaredTool) and name not in {known.name for known in found}
        ]
        found += asyncio.run(_all_of_servers(plan))
    return found


def find_tool(name: str, flow: Path | None, cwd: Path) -> KnownTool:
    """The tool of a name; its server, where it is one's that is not pinned, is started and ended. As above."""

    async def find() -> KnownTool:
        async with _found(name, flow, cwd) as (known, _):
            return known

    return asyncio.run(find())


def call_tool(
    name: str,
    arguments: Callable[[KnownTool], Mapping[str, Json]],
    *,
    flow: Path | None,
    cwd: Path,
    workspace: Path | None = None,
    unsandboxed: bool = False,
) -> Json:
    """What a tool gives. `arguments` are asked for once it is known what it takes.

    The user calls it: the permissions of the flow grant hosts and network, and forbid nothing. Raises `Invalid`
    for a call that is wrong, `ToolFailedError` where the tool fails, and `Unavailable`.
    """

    async def call() -> Json:
        async with _found(name, flow, cwd, to_call=True) as (known, plan):
            given = arguments(known)
            if problems := check_arguments(known.tool, given):
                raise Invalid(*(Problem(None, problem.message, problem.hint) for problem in problems))
            said, hint = fault_alone(known.tool, given)
            if said:
                raise Invalid(Problem(None, said, hint))
            context = _context(plan, cwd, workspace, unsandboxed)
            try:
                return await known.tool.call(given, context)
            except StepError as error:
                raise ToolFailedError(error) from None
            finally:
                await context.kept.aclose()
                await context.kept_for_run.aclose()

    return asyncio.run(call())


@asynccontextmanager
async def _found(
    name: str, flow: Path | None, cwd: Path, *, to_call: bool = False
) -> AsyncIterator[tuple[KnownTool, Plan | None]]:
    """A tool that is there while this is entered. `to_call`: its server is started even if it is pinned."""
    plan = check_flow(flow, cwd) if flow is not None else None
    tool = _meant(_names(plan, cwd), name)[name]
    if not isinstance(tool, DeclaredTool):
        yield KnownTool(name, _owner(tool), tool), plan
        return
    assert plan is not None
    meant = meaning(name, plan.tool_servers)
    assert isinstance(meant, ServerTool)
    pinned = pins_by_flow(plan.loaded).get(id(plan.loaded), {}).get(meant.server)
    if pinned is not None and not to_call:
        yield KnownTool(name, _owner(tool), tool), plan
        return
    server = server_of(plan, meant.server, default_scope(plan), pinned)
    try:
        tools = tools_of_server(plan, server, await server.start())
        if name not in tools:
            said = f'the tool server "{meant.server}" has no tool "{meant.tool}"'
            raise Invalid(Problem(None, said, suggest(name, tools)))
        yield KnownTool(name, _owner(tools[name]), tools[name]), plan
    finally:
        await server.aclose()


async def _all_of_servers(plan: Plan) -> list[KnownTool]:
    pins = pins_by_flow(plan.loaded).get(id(plan.loaded), {})
    found: list[KnownTool] = []
    for name in plan.tool_servers:
        if name in pins:
            tools: Mapping[str, Tool] = {
                f"{name}.{tool.name}": DeclaredTool(f"{name}.{tool.name}", tool.description, tool.parameters)
                for tool in pins[name].values()
            }
        else:
            server = server_of(plan, name, default_scope(plan), None)
            try:
                tools = tools_of_server(plan, server, await server.start())
            finally:
                await server.aclose()
        found += [KnownTool(tool, f"tool server {name}", each) for tool, each in tools.items()]
    return found


def _names(plan: Plan | None, cwd: Path) -> FlowNames:
    """Of no flow: what the user himself names, so that files are relative to where he is."""
    if plan is None:
        return FlowNames(cwd, Path(), TOOLS, {}, {})
    return FlowNames.of(plan.loaded, TOOLS, pins_of(plan.loaded))


def _meant(names: FlowNames, name: str) -> Mapping[str, Tool]:
    try:
        return names.meant(name, None)
    except NotAToolError as error:
        raise Invalid(*error.problems) from None


def _owner(tool: Tool) -> str:
    if isinstance(tool, FunctionTool):
        return tool.place.source
    return "built in" if tool.name in TOOLS else f"tool server {tool.name.partition('.')[0]}"


def _context(plan: Plan | None, cwd: Path, workspace: Path | None, unsandboxed: bool) -> ToolContext:
    granted, root = Permissions(), cwd
    if plan is not None:
        flow = plan.loaded.flow
        assert flow is not None
        root = plan.loaded.folder / flow.workspace if flow.workspace else cwd
        try:
            granted = permissions_of(plan, plan.permissions, default_scope(plan))
        except StepError as error:
            raise Invalid(Problem(error.mark, error.message)) from None
    root = (cwd / workspace if workspace is not None else root).resolve()
    if not root.is_dir():
        raise Invalid(f"the workspace {root} is not a folder")
    grants = Grants(hosts=tuple(granted.hosts), network=bool(granted.network), unsandboxed=unsandboxed)
    return ToolContext(
        workspace=root,
        step="call",
        call_id="call.1",
        grants=grants,
        kept=Kept(),
        kept_for_run=Kept(),
    )
