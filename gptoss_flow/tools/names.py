"""How a flow names a tool that is not built in: what a name means, told by its form alone. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")

FUNCTION_HINT = "a function is named ./file.py:function (beside the flow) or package.module:function"


@dataclass(frozen=True, slots=True)
class FileFunction:
    """`./helpers.py:function`: relative to the flow's folder, never to the working folder."""

    path: str
    function: str


@dataclass(frozen=True, slots=True)
class ModuleFunction:
    """`my_package.module:function`: of an installed package."""

    module: str
    function: str


@dataclass(frozen=True, slots=True)
class ServerTool:
    """`server.tool`, or `server` alone for all of its tools: of one of the flow's `tool_servers`."""

    server: str
    tool: str
    """Empty: all of them."""


@dataclass(frozen=True, slots=True)
class Other:
    """A built-in tool, or one of an installed package."""

    name: str


Meaning = FileFunction | ModuleFunction | ServerTool | Other


def meaning(name: str, servers: Collection[str] = ()) -> Meaning:
    """What a tool's name means. Raises `ValueError` where it has the form of a function's name and is none."""
    place, colon, function = name.rpartition(":")
    if colon:
        if not function.isidentifier():
            raise ValueError(f'"{function}" is not the name of a function')
        if place.endswith(".py"):
            return FileFunction(place, function)
        if not _DOTTED.fullmatch(place):
            raise ValueError(f'"{place}" is neither a file (.py) nor a module')
        return ModuleFunction(place, function)
    server, _, tool = name.partition(".")
    return ServerTool(server, tool) if server in servers else Other(name)
