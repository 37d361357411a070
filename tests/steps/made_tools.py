"""Tools made for tests: what they are called with is kept, what they give is told beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext

Work = Callable[[Mapping[str, Json], ToolContext], Awaitable[Json]]


async def echo(arguments: Mapping[str, Json], context: ToolContext) -> Json:
    return arguments.get("text", "nothing")


@dataclass
class MadeTool:
    name: str
    work: Work = echo
    effect: Literal["pure", "idempotent", "once"] = "pure"
    description: str = "Made for a test."
    code: str = "1"
    parameters: Mapping[str, Json] = field(
        default_factory=lambda: {
            "type": "object",
            "properties": {"text": {"type": "string"}, "n": {"type": "integer"}},
            "additionalProperties": False,
        }
    )
    called: list[dict[str, Json]] = field(default_factory=list)
    contexts: list[ToolContext] = field(default_factory=list)

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        self.called.append(dict(arguments))
        self.contexts.append(context)
        return await self.work(arguments, context)


def tools(*made: MadeTool) -> dict[str, Any]:
    return {tool.name: tool for tool in made}


class Together:
    """Work that ends only once so many calls of it have begun: they can only be made at once."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.all_here = asyncio.Event()

    async def __call__(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        self.left -= 1
        if not self.left:
            self.all_here.set()
        await self.all_here.wait()
        return "here"


class Thing:
    """What a tool keeps: how often it was used, and closed."""

    def __init__(self) -> None:
        self.closed = 0
        self.uses = 0

    async def aclose(self) -> None:
        self.closed += 1
