"""Which tools the steps of a flow name, and where: in tool steps, and among the `tools` of prompts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_flow.errors import Problem
from gptoss_flow.lang.defaults import bodies_of
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.ports import Tool


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool's name as written; `granted`: to a model, which may be given all tools of a group at once."""

    path: Path
    name: str
    granted: bool


@dataclass(frozen=True, slots=True)
class OwnTools:
    """What a flow's names mean beyond the tools that every flow has, and what is wrong with them."""

    tools: Mapping[str, Tool]
    """By the name as written. Of a tool server, each of its tools that is known, else those that are named."""
    problems: tuple[Problem, ...] = ()


ResolveTools = Callable[[LoadedFlow], OwnTools]


def no_own_tools(loaded: LoadedFlow) -> OwnTools:
    """Every flow has the built-in tools and no others."""
    return OwnTools({})


def named_tools(data: Mapping[str, Any]) -> Iterator[NamedTool]:
    """Every tool that a step or fallback names, in file order; what has a wrong shape is passed over."""
    for path, body in bodies_of(data):
        yield from names_in_body(body, path)


def names_in_body(body: Mapping[str, Any], path: Path = ()) -> Iterator[NamedTool]:
    """The tools that one step's body names."""
    if isinstance(name := body.get("tool"), str):
        yield NamedTool((*path, "tool"), name, granted=False)
    prompt = body.get("prompt")
    given = prompt.get("tools") if isinstance(prompt, dict) else None
    for i, name in enumerate(given if isinstance(given, list) else ()):
        if isinstance(name, str):
            yield NamedTool((*path, "prompt", "tools", i), name, granted=True)
