"""The tools of a flow's servers before any is started: by what the lock has of them, else by their form. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.ports import Tool, ToolContext
from gptoss_flow.tool_marks import Effect
from gptoss_flow.tools.function import NotAToolError
from gptoss_flow.tools.mcp.listing import Pinned
from gptoss_flow.tools.names import ServerTool
from gptoss_flow.words import TOOL_NAME, suggest

RESERVED = frozenset(
    {"functions", "assistant", "browser", "python", "container", "analysis", "commentary", "final"}
)
"""Words of Harmony's own, which no server's tools may seem to belong to."""
ANYTHING: Mapping[str, Json] = {"type": "object"}


@dataclass(frozen=True)
class DeclaredTool:
    """A tool of which only the flow knows, and perhaps its lock. Satisfies `ports.Tool`, but cannot be called."""

    name: str
    description: str = ""
    parameters: Mapping[str, Json] = field(default_factory=lambda: ANYTHING)
    effect: Effect = "once"
    code: str = ""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        raise AssertionError(f"{self.name} was called before its server was started")


def server_problems(loaded: LoadedFlow, servers: Mapping[str, Any], builtin: Collection[str]) -> Iterator[Problem]:
    for name in servers:
        if name in builtin or name in RESERVED:
            said = f'"{name}" cannot be a tool server\'s name: '
            said += "it is a built-in tool's" if name in builtin else "models know it as something else"
            yield Problem(loaded.key_mark(("tool_servers", name)), said, "take another")


def declared_tools(
    meant: ServerTool, name: str, mark: Mark | None, given: Any, pinned: Pinned | None, *, granted: bool
) -> dict[str, Tool]:
    """What a name means; of a whole server, each of its tools. Raises `NotAToolError` where it can mean none."""
    allowed = given.get("tools") if isinstance(given, dict) else None
    known = list(pinned) if pinned is not None else None
    if isinstance(allowed, list):
        known = [name for name in (known if known is not None else allowed) if name in allowed]
    if not meant.tool:
        if granted:
            return {
                f"{meant.server}.{tool}": _declared(meant.server, tool, given, pinned) for tool in known or ()
            } or {meant.server: _declared(meant.server, "", given, pinned)}
        said = f'"{meant.server}" is a tool server, not a tool'
        raise NotAToolError(Problem(mark, said, f"name one of its tools: {meant.server}.{_some(known)}"))
    if known is not None and meant.tool not in known:
        where = "the tools in flow.lock" if pinned is not None else f'"tools" of the tool server "{meant.server}"'
        hint = suggest(name, [f"{meant.server}.{name}" for name in known])
        raise NotAToolError(Problem(mark, f'"{name}" is not among {where}', hint))
    if not TOOL_NAME.fullmatch(name):
        said = f'"{name}" cannot be the name of a tool'
        raise NotAToolError(Problem(mark, said, "allowed: up to 64 of A-Z a-z 0-9 _ . -"))
    return {name: _declared(meant.server, meant.tool, given, pinned)}


def _some(known: list[str] | None) -> str:
    return known[0] if known else "NAME"


def _declared(server: str, tool: str, given: Any, pinned: Pinned | None) -> DeclaredTool:
    found = (pinned or {}).get(tool)
    name = f"{server}.{tool}" if tool else server
    return DeclaredTool(
        name,
        found.description if found else "",
        found.parameters if found else ANYTHING,
        code=server_code(given, tool),
    )


def server_code(given: Any, tool: str) -> str:
    """What tells a server's tool from others, for resume: how the server is run, as the flow says it."""
    return sha256(json_text([given, tool]).encode("utf-8", "surrogatepass")).hexdigest()[:16]
