"""Places what is wrong with a step's tools, permissions and schema, and with what it continues."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.escape import one_line
from gptoss_flow.fields import is_template
from gptoss_flow.lang.document import Path
from gptoss_flow.permissions import RULES, flat, granted, names
from gptoss_flow.plan.plan import Values
from gptoss_flow.plan.reader import Reader
from gptoss_flow.ports import Tool
from gptoss_flow.sites.rules import parse_rule
from gptoss_flow.sites.site import BadSite
from gptoss_flow.structured import schema_fault
from gptoss_flow.words import suggest

CHOICES = ("auto", "none", "required")


def granted_tools(
    reader: Reader, prompt: Mapping[str, Any], path: Path, tools: Mapping[str, Tool]
) -> tuple[str, ...]:
    """What a prompt's `tools` name, as written; whatever they mean is a tool."""
    given = prompt.get("tools")
    found: list[str] = []
    for i, name in enumerate(given if isinstance(given, list) else ()):
        if not isinstance(name, str):
            continue  # its shape is already a problem
        mark = reader.loaded.mark((*path, "tools", i))
        if is_template(name):
            reader.problem(mark, "which tools a model may call is known before the run", "write their names")
            continue
        if not granted([name], tools):
            reader.problem(mark, f'"{name}" is not a tool', suggest(name, _nameable(tools)))
        found.append(name)
    choice = prompt.get("tool_choice")
    allowed = [*CHOICES, *granted(found, tools)]
    if isinstance(choice, str) and given and choice not in allowed:
        mark = reader.loaded.mark((*path, "tool_choice"))
        reader.problem(mark, f'"{choice}" is not one of the step\'s tools', suggest(choice, allowed))
    return tuple(found)


def permissions(reader: Reader, given: Any, path: Path, tools: Mapping[str, Tool]) -> Values | None:
    """The `permissions` that stand at `path`; only hosts and network can hold expressions, and of inputs only."""
    if not isinstance(given, dict) or not given:
        return None
    for key in RULES:
        rules = given.get(key)
        for i, rule in enumerate(rules if isinstance(rules, list) else ()):
            if isinstance(rule, str | dict):
                _check_rule(reader, rule, (*path, key, i), tools)
    hosts = given.get("hosts")
    for i, host in enumerate(hosts if isinstance(hosts, list) else ()):
        if isinstance(host, str) and not is_template(host):
            _check_host(reader, host, (*path, "hosts", i))
    return reader.values(given, path, reader.names.for_servers())


def _check_host(reader: Reader, host: str, path: Path) -> None:
    try:
        parse_rule(host)
    except BadSite as wrong:
        said, _, hint = str(wrong).partition("; ")
        reader.problem(reader.loaded.mark(path), f'"{one_line(host)}" is no host to grant: {said}', hint)


def _check_rule(reader: Reader, rule: str | dict[str, Any], path: Path, tools: Mapping[str, Tool]) -> None:
    for text, where in _texts(rule, path):
        if is_template(text):
            reader.problem(
                reader.loaded.mark(where), "a rule is known before the run", "write it without expressions"
            )
            return
    if isinstance(rule, dict) and not all(isinstance(patterns, dict) for patterns in rule.values()):
        return  # its shape is already a problem
    for glob, patterns in flat([rule]):
        meant = [tool for tool in tools.values() if names(glob, tool.name)]
        mark = reader.loaded.key_mark((*path, glob)) if patterns else reader.loaded.mark(path)
        if not meant and glob.partition(".")[0] not in (reader.data.get("tool_servers") or {}):
            reader.problem(mark, f'"{glob}" is not a tool', suggest(glob, _nameable(tools)))
        for argument in patterns:
            known = dict.fromkeys(name for tool in meant for name in tool.parameters.get("properties", {}))
            open_ended = any(tool.parameters.get("additionalProperties", True) is not False for tool in meant)
            if meant and argument not in known and not open_ended:
                where = (*path, glob, argument)
                said = f'"{glob}" has no argument "{argument}"'
                reader.problem(reader.loaded.key_mark(where), said, suggest(argument, known))


def _texts(rule: str | dict[str, Any], path: Path) -> Iterator[tuple[str, Path]]:
    if isinstance(rule, str):
        yield rule, path
        return
    for glob, patterns in rule.items():
        for name, pattern in patterns.items() if isinstance(patterns, dict) else ():
            if isinstance(pattern, str):
                yield pattern, (*path, glob, name)


def _nameable(tools: Mapping[str, Tool]) -> list[str]:
    """Tools and groups of them."""
    called = [tool.name for tool in tools.values()]
    return list(dict.fromkeys([*called, *(name.partition(".")[0] for name in called if "." in name)]))


def schema_of(reader: Reader, prompt: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """What the file says that a prompt's `schema` names; None where it stands in the flow, or there is none."""
    given = prompt.get("schema")
    if isinstance(given, str):
        schema = reader.loaded.schemas.get(given)
        return schema if isinstance(schema, dict) else None
    if isinstance(given, dict):
        now = reader.now(given, (*path, "schema"))
        if isinstance(now, dict) and (fault := schema_fault(now)):
            reader.problem(reader.loaded.mark((*path, "schema")), f'"schema" {fault}')
    return None


def continued(reader: Reader, prompt: Mapping[str, Any], path: Path) -> str | None:
    """The expression that a `continue` stands for: the conversation of the step that it names."""
    step = prompt.get("continue")
    if not isinstance(step, str):
        return None
    mark, kind = reader.loaded.mark((*path, "continue")), reader.names.steps.get(step)
    if kind is not None and kind != "prompt":
        reader.problem(
            mark, f'"continue" goes on with a conversation, and "{step}" is a {kind} step', "name a prompt"
        )
        return None
    data = next(
        (
            part[step]
            for part in map(reader.data.get, ("steps", "finally"))
            if isinstance(part, dict) and step in part
        ),
        None,
    )
    if isinstance(data, dict) and {"foreach", "matrix"} & data.keys():
        hint = f"give one of them as messages: ${{{{ steps.{step}.messages[…] }}}}"
        reader.problem(mark, f'"{step}" is run for several items, each with a conversation of its own', hint)
        return None
    return f"${{{{ steps.{step}.messages }}}}"
