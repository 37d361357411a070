"""What a program gives in place of a flow's words: conversations as text or messages, tools as functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from gptoss_flow.errors import Invalid
from gptoss_flow.permissions import granted
from gptoss_flow.ports import Message, Tool
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.function import NotAToolError, function_tool
from gptoss_flow.tools.sandboxed_function import Origin
from gptoss_flow.words import suggest

Asked = str | Sequence[Message | Mapping[str, str]]
"""A question, or a conversation: messages, or mappings with `role` and `content`."""
ToolLike = str | Tool | Callable[..., Any]
"""A built-in tool's name (or a group's), a tool, or a function with types."""


def conversation(asked: Asked) -> tuple[Message, ...]:
    """Raises `Invalid`."""
    if isinstance(asked, str):
        return (Message("user", asked),)
    return tuple(each if isinstance(each, Message) else _message(each) for each in asked)


def _message(given: Mapping[str, str]) -> Message:
    try:
        role, content = given["role"], given["content"]
    except KeyError as error:
        raise Invalid(f"a message has a role and a content: {error} is missing") from None
    if role not in ("system", "developer", "user", "assistant"):
        raise Invalid(f'"{role}" is not a role; allowed: system, developer, user, assistant')
    return Message(cast(Any, role), content)


def tools_of(given: Sequence[ToolLike]) -> dict[str, Tool]:
    """The tools by what a model calls them. Raises `Invalid`."""
    found: dict[str, Tool] = {}
    for each in given:
        for name, tool in _tools(each).items():
            if name in found:
                raise Invalid(f'two tools are called "{name}"')
            found[name] = tool
    return found


def _tools(given: ToolLike) -> dict[str, Tool]:
    if isinstance(given, str):
        if not (named := granted([given], TOOLS)):
            raise Invalid(f'"{given}" is not a tool; {suggest(given, TOOLS)}')
        return named
    if inspect.isroutine(given) or inspect.isclass(given):
        tool = _function(given)
        return {tool.name: tool}
    return {cast(Tool, given).name: cast(Tool, given)}


def _function(function: Callable[..., Any]) -> Tool:
    plain = inspect.unwrap(function)
    source = getattr(getattr(plain, "__code__", None), "co_filename", "")
    try:
        text = Path(source).read_bytes()
    except OSError:  # it was typed in
        text = getattr(getattr(plain, "__code__", None), "co_code", b"")
    code = sha256(text).hexdigest()[:16]
    try:
        name = getattr(function, "__name__", "it")
        return function_tool(function, code=code, origin=Origin(name, source, module=function.__module__))
    except NotAToolError as error:
        raise Invalid(*error.problems) from None
