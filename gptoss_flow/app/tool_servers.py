"""The tool servers of a run: which it needs, how each is run, what they offer, and that none outlives it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gptoss_flow import __version__
from gptoss_flow.app.lock_content import all_flows
from gptoss_flow.errors import Invalid, Problem, StepError, Unavailable
from gptoss_flow.events import Warned
from gptoss_flow.fields import RENDERED
from gptoss_flow.lang.document import Path as Place
from gptoss_flow.lang.flow import ToolServer
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.arguments import misfits
from gptoss_flow.plan.compile import compile_flow, in_file_order
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.plan.tool_names import names_in_body
from gptoss_flow.ports import Emit, Tool
from gptoss_flow.run.context import Scope, render
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.mcp.declared import server_code
from gptoss_flow.tools.mcp.listing import ListedTool, Listing, Pinned
from gptoss_flow.tools.mcp.settings import ServerSettings
from gptoss_flow.tools.names import ServerTool, meaning
from gptoss_flow.tools.registry import own_tools
from gptoss_flow.user_path import user_path
from gptoss_flow.words import suggest

if TYPE_CHECKING:
    from gptoss_flow.tools.mcp.server import McpServer


@dataclass(frozen=True, slots=True)
class _Used:
    """A tool server that a plan's steps use."""

    plan: Plan
    name: str


class ToolServers:
    """`prepare` starts those that the steps of a run name; `aclose` ends them."""

    def __init__(
        self,
        plan: Plan,
        scope: Scope,
        pins: Mapping[int, Mapping[str, Pinned]],
        *,
        select: Collection[str] | None = None,
        emit: Emit | None = None,
        lock_command: str = "",
    ) -> None:
        """`pins`: of each loaded flow by its `id`, what the lock has. Only the steps of `select` count.

        `lock_command` writes that lock.
        """
        self._root, self._scope, self._pins = plan, scope, pins
        self._select, self._emit, self._lock_command = select, emit, lock_command
        self._servers: dict[tuple[int, str], McpServer] = {}
        self._tools: dict[int, dict[str, Tool]] = {}

    def tools(self, plan: Plan) -> dict[str, Tool]:
        """What the servers of a plan offer, once they have been prepared."""
        return self._tools.get(id(plan.loaded), {})

    async def prepare(self) -> None:
        """Start them, and hold what the steps ask against what they offer. Raises `Invalid`, `Unavailable`."""
        used = list(self._used())
        if not used:
            return
        servers = {(id(each.plan.loaded), each.name): self._server(each) for each in used}
        self._servers |= servers
        starting = [asyncio.ensure_future(server.start()) for server in servers.values()]
        try:
            listings = await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)
        for each, server, listing in zip(used, servers.values(), listings, strict=True):
            self._tools.setdefault(id(each.plan.loaded), {}).update(tools_of_server(each.plan, server, listing))
            self._tell(each, listing)
        if problems := [problem for plan in _distinct(self._root) for problem in self._misfits(plan)]:
            raise Invalid(*in_file_order(problems, str(self._root.loaded.path)))

    async def aclose(self) -> None:
        """End them all, and wait until they have ended. Safe to call twice."""
        await asyncio.gather(*(server.aclose() for server in self._servers.values()))

    # --- which, and how ----------------------------------------------------------------------------------------

    def _used(self) -> Iterator[_Used]:
        for plan in _distinct(self._root):
            named: dict[str, None] = {}
            for node in self._nodes(plan):
                named |= dict.fromkeys(server for _, server, _ in _asked_of_servers(plan, node))
            yield from (_Used(plan, name) for name in plan.tool_servers if name in named)

    def _nodes(self, plan: Plan) -> Iterator[Node]:
        for node in plan.nodes.values():
            if plan is not self._root or self._select is None or node.id in self._select:
                yield from (one for one in (node, node.fallback) if one is not None)

    def _server(self, used: _Used) -> McpServer:
        return server_of(
            used.plan,
            used.name,
            self._scope if used.plan is self._root else early_scope(used.plan, self._scope),
            self._pins.get(id(used.plan.loaded), {}).get(used.name),
            hint=f"see whether that is right; to take it as it is now: {self._lock_command} --upgrade",
        )

    # --- what they offer ---------------------------------------------------------------------------------------

    def _tell(self, used: _Used, listing: Listing) -> None:
        if self._emit is None:
            return
        pinned = self._pins.get(id(used.plan.loaded), {}).get(used.name)
        for name, reason in listing.refused.items():
            self._emit(Warned(message=f"the tool {used.name}.{name} is left out: {reason}"))
        if pinned is None:
            of = "" if used.plan is self._root else f" of {used.plan.loaded.path.name}"
            said = f"the tool server {used.name}{of} is not pinned, so what it says of its tools may change"
            self._emit(Warned(message=f"{said}; to pin it: {self._lock_command}"))

    def _misfits(self, plan: Plan) -> Iterator[Problem]:
        """What the steps ask of the servers, and they have not, or will not take."""
        tools = self.tools(plan)
        for node in self._nodes(plan):
            body: Any = node.body.compiled.data
            for place, server, name in _asked_of_servers(plan, node):
                of_server = [tool for tool in tools if tool.startswith(f"{server}.")]
                if name == server:  # all that it has
                    if not of_server:
                        yield Problem(_mark(plan, place, node), f'the tool server "{server}" offers no tools')
                elif name not in tools:
                    said = f'the tool server "{server}" has no tool "{name.partition(".")[2]}"'
                    yield Problem(_mark(plan, place, node), said, suggest(name, of_server))
                elif body.get("tool") == name and isinstance(given := body.get("with", {}), dict):
                    yield from misfits(plan.loaded, node.body.path, tools[name], given)


def server_of(plan: Plan, name: str, scope: Scope, pinned: Pinned | None, *, hint: str = "") -> McpServer:
    """A tool server that is not started yet. Raises `Invalid` for what cannot be evaluated or is not allowed."""
    try:
        # What it needs is loaded where a flow has tool servers: it takes half a second.
        from gptoss_flow.tools.mcp.server import McpServer
    except ImportError as error:
        said = f"tool servers need the package mcp ({error})"
        raise Unavailable(Problem(None, said, "pip install 'gptoss-flow[mcp]'")) from None
    return McpServer(_settings(plan, name, scope), os.environ, pinned=pinned, hint=hint, version=__version__)


def _settings(plan: Plan, name: str, scope: Scope) -> ServerSettings:
    values = plan.tool_servers[name]
    try:
        given = render(plan, values, scope)
    except StepError as error:
        hint = "" if "inputs" in scope else "the servers of a flow inside another are started before it has inputs"
        raise Invalid(Problem(error.mark, error.message, hint)) from None
    try:
        server = ToolServer.model_validate(given, context=RENDERED)
    except ValidationError as error:
        first = error.errors()[0]
        said = f'the tool server "{name}": {".".join(map(str, first["loc"]))}: {first["msg"]}'
        raise Invalid(Problem(plan.place(values.path), said)) from None
    return ServerSettings(
        name=name,
        command=tuple(server.command or ()),
        env=tuple(server.env),
        cwd=Path(os.path.normpath(plan.loaded.folder / user_path(server.cwd or "."))),
        url=server.url or "",
        headers=server.headers,
        timeout_s=server.timeout,
        tools=None if server.tools is None else tuple(server.tools),
    )


def early_scope(plan: Plan, outer: Scope | None = None) -> Scope:
    """What is known of a flow before it has inputs: those of its names that do not depend on any."""
    flow = plan.loaded.flow
    assert flow is not None
    secrets = outer.get("secrets", {}) if outer else os.environ
    return {
        "flow": {"name": plan.name, "dir": str(plan.loaded.folder)},
        "env": {name: os.environ[name] for name in flow.env if name in os.environ},
        "secrets": {name: secrets[name] for name in plan.secrets if name in secrets},
    }


def default_scope(plan: Plan) -> Scope:
    """The same with the defaults of its inputs."""
    flow = plan.loaded.flow
    assert flow is not None
    given = {name: declared.default for name, declared in flow.inputs.items() if declared.default is not None}
    return {**early_scope(plan), "inputs": given}


def list_tools(loaded: LoadedFlow, names: Collection[str]) -> dict[str, Pinned]:
    """What tool servers of a flow offer, each by the name that its lock has for it: they are started, and ended.

    Expressions may use the defaults of inputs. Raises `Invalid`, `Unavailable`.
    """
    plan = compile_flow(loaded, TOOLS, lambda each: own_tools(each, TOOLS))
    prefixes = {id(each): prefix for prefix, each in all_flows(loaded)}
    prefixed = {
        prefixes[id(each.loaded)] + name: (each, name) for each in _distinct(plan) for name in each.tool_servers
    }

    async def listed(each: Plan, name: str) -> Mapping[str, ListedTool]:
        server = server_of(each, name, default_scope(each) if each is plan else early_scope(each), None)
        try:
            return (await server.start()).tools
        finally:
            await server.aclose()

    async def all_listed() -> dict[str, Pinned]:
        return {key: await listed(*prefixed[key]) for key in names if key in prefixed}

    return asyncio.run(all_listed())


def _distinct(plan: Plan) -> Iterator[Plan]:
    """The plans of the flows that are read from different files, each once."""
    seen: set[int] = set()
    for each in plan.flows():
        if id(each.loaded) not in seen:
            seen.add(id(each.loaded))
            yield each


def _asked_of_servers(plan: Plan, node: Node) -> Iterator[tuple[Place, str, str]]:
    """What a node names of the flow's tool servers: the place, the server, the name."""
    body: Any = node.body.compiled.data
    for named in names_in_body(body, node.body.path) if isinstance(body, dict) else ():
        if named.name in TOOLS or ":" in named.name:
            continue
        if isinstance(meant := meaning(named.name, plan.tool_servers), ServerTool):
            yield named.path, meant.server, named.name


def tools_of_server(plan: Plan, server: McpServer, listing: Listing) -> dict[str, Tool]:
    """What a server of a plan offers, by the names that steps have for it."""
    from gptoss_flow.tools.mcp.tool import McpTool

    given = plan.loaded.data["tool_servers"][server.name]
    return {
        f"{server.name}.{name}": McpTool(f"{server.name}.{name}", server_code(given, name), tool, server)
        for name, tool in listing.tools.items()
    }


def _mark(plan: Plan, place: Place, node: Node) -> Any:
    try:
        return plan.place(place)
    except LookupError:
        return node.mark
