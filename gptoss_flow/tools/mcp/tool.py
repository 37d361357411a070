"""A tool of an MCP server, as a step or a model calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tool_marks import Effect
from gptoss_flow.tools.base import validate_arguments
from gptoss_flow.tools.mcp.listing import ListedTool
from gptoss_flow.tools.mcp.server import McpServer


@dataclass(frozen=True)
class McpTool:
    """Satisfies `ports.Tool`.

    What a server says of its tools' effects is only its word: each is `once` unless the step says otherwise.
    """

    name: str
    code: str
    listed: ListedTool
    server: McpServer
    effect: Effect = "once"

    @property
    def description(self) -> str:
        return self.listed.description

    @property
    def parameters(self) -> Mapping[str, Json]:
        return self.listed.parameters

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        return await self.server.call(self.listed.name, validate_arguments(self, arguments))
