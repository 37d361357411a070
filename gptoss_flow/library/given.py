"""What a program gives in place of a flow's words: conversations as text or messages, tools as functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from gptoss_flow.errors import Invalid
from gptoss_flow.permissions import Permissions, flat, granted, names
from gptoss_flow.ports import Message, Tool
from gptoss_flow.sites.rules import parse_rule
from gptoss_flow.sites.site import BadSite
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


def permissions_of(given: Mapping[str, Any], tools: Mapping[str, Tool]) -> Permissions:
    """The rules, each about one of these tools or a built-in one: one that is misspelled would forbid nothing.

    Raises `Invalid`.
    """
    try:
        found = Permissions.model_validate(given)
        for host in found.hosts:
            parse_rule(host)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"][:2]))
        raise Invalid(f"permissions: {where}: {first['msg']}") from None
    except BadSite as wrong:
        raise Invalid(f'permissions: "{host}" is no host to grant: {wrong}') from None
    known = {**TOOLS, **tools}
    for glob, patterns in flat([*found.allow, *found.ask, *found.deny]):
        meant = [tool for name, tool in known.items() if names(glob, name)]
        if not meant:
            raise Invalid(f'permissions: "{glob}" is not a tool; {suggest(glob, known)}')
        arguments = dict.fromkeys(name for tool in meant for name in tool.parameters.get("properties", {}))
        for name in patterns:
            if name not in arguments:
                raise Invalid(f'permissions: "{glob}" has no argument "{name}"; {suggest(name, arguments)}')
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
