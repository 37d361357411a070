"""`gptoss-flow tools`: which tools there are, what one of them takes, and a call of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gptoss_flow.app.tool_calls import KnownTool, call_tool, find_tool, known_tools
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.escape import for_terminal
from gptoss_flow.events import Json
from gptoss_flow.fields import parse_json
from gptoss_flow.ui.table import table
from gptoss_flow.ui.tools import argument_rows, described, description
from gptoss_flow.user_path import user_path

flow_of_tools = click.argument("flow", required=False, type=click.Path(path_type=str))
name_argument = click.argument("name", metavar="NAME", shell_complete=complete.tools)


@click.group("tools")
def command() -> None:
    """List, show and call tools: what steps can call, and what they can let models call."""


@command.command("ls")
@flow_of_tools
@json_option
def ls(flow: str | None, as_json: bool) -> None:
    """List the tools that every flow has, and those of installed packages; with FLOW also those that it names.

    Tool servers of FLOW that its lock does not pin are started to learn what they offer, and ended.
    """
    found = known_tools(Path(flow) if flow else None, Path.cwd())
    if as_json:
        click.echo(json.dumps([_as_json(known) for known in found], indent=2, ensure_ascii=False))
    else:
        rows = [(each.name, each.owner, each.tool.effect, described(each.tool)) for each in found]
        click.echo(table(("NAME", "FROM", "EFFECT", "DESCRIPTION"), rows, _columns()))


@command.command("show")
@name_argument
@flow_of_tools
@json_option
def show(name: str, flow: str | None, as_json: bool) -> None:
    """Show one tool: what it says of itself, its arguments, and what resume may do with its calls.

    NAME is as a step names it: read_file, ./helpers.py:count, package.module:function, or server.tool of FLOW.
    """
    known = find_tool(name, Path(flow) if flow else None, Path.cwd())
    if as_json:
        click.echo(json.dumps(_as_json(known), indent=2, ensure_ascii=False))
        return
    lines = [f"{known.name}  ({known.owner}; effect: {known.tool.effect})"]
    if known.tool.description:
        lines += ["", description(known.tool, _columns())]
    click.echo(for_terminal("\n".join(lines)))
    if rows := argument_rows(known.tool):
        click.echo(f"\n{table(('ARGUMENT', 'TYPE', 'NEEDED', 'ABOUT'), rows, _columns())}")


@command.command("call")
@name_argument
@click.argument("given", metavar="[KEY=VALUE]...", nargs=-1, shell_complete=complete.arguments)
@click.option(
    "--json", "as_json", metavar="OBJECT", help="The arguments as JSON; @FILE reads it, @- standard input."
)
@click.option("--flow", metavar="FLOW", type=click.Path(path_type=str), help="The flow whose tool it is.")
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the flow's, or this folder]")
@click.option(
    "--allow-unsandboxed", is_flag=True, help="Let it run its code without a sandbox, where it wants one."
)
def call(
    name: str,
    given: tuple[str, ...],
    as_json: str | None,
    flow: str | None,
    workspace: str | None,
    allow_unsandboxed: bool,
) -> None:
    """Call a tool and print what it gives: text as it is, anything else as JSON.

    A VALUE is read as its argument's type says; @FILE and @- read it, @@x is a literal @x. Nothing is recorded.
    Exit code 1 where the tool fails, 2 where the call is wrong.

    \b
    Examples:
      gptoss-flow tools call list_files pattern='*.md'
      gptoss-flow tools call ./helpers.py:count text=@README.md
      gptoss-flow tools call time.get_current_time timezone=UTC --flow flows/report.yaml
    """
    if as_json is not None and given:
        raise click.UsageError("give the arguments as KEY=VALUE or with --json, not both")
    result = call_tool(
        name,
        lambda known: _object(as_json) if as_json is not None else _pairs(known, given),
        flow=Path(flow) if flow else None,
        cwd=Path.cwd(),
        workspace=Path(workspace) if workspace is not None else None,
        unsandboxed=allow_unsandboxed,
    )
    text = result if isinstance(result, str) else json.dumps(result, indent=2, ensure_ascii=False)
    if sys.stdout.isatty():
        text = for_terminal(text)
    click.echo(text.encode("utf-8", "backslashreplace"), nl=not text.endswith("\n"))


def _columns() -> int | None:
    """Of the terminal; None where the output is for another program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def _as_json(known: KnownTool) -> dict[str, Json]:
    return {
        "name": known.name,
        "from": known.owner,
        "description": known.tool.description,
        "effect": known.tool.effect,
        "parameters": dict(known.tool.parameters),
    }


def _object(text: str) -> dict[str, Json]:
    try:
        read = parse_json(_read("--json", text))
    except ValueError as error:
        raise Invalid(
            Problem(None, f"--json: this is not JSON: {error}", 'write one like {"path": "."}')
        ) from None
    if not isinstance(read, dict):
        raise Invalid(Problem(None, "--json: the arguments are an object", 'write one like {"path": "."}'))
    return read


def _pairs(known: KnownTool, given: tuple[str, ...]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    problems = []
    for pair in given:
        key, equals, text = pair.partition("=")
        if not equals:
            problems.append(Problem(None, f"{pair}: an argument is given as KEY=VALUE"))
        elif key in found:
            problems.append(Problem(None, f"{key} is given twice"))
        else:
            found[key] = _value(known.tool.parameters.get("properties", {}).get(key, {}), _read(key, text))
    if problems:
        raise Invalid(*problems)
    return found


def _value(schema: Mapping[str, Any], text: str) -> Json:
    """As the argument's type says: text where that is allowed, else JSON. What is neither, its check tells."""
    if "string" in _types(schema):
        return text
    try:
        return parse_json(text)
    except ValueError:
        return text


def _types(schema: Mapping[str, Any]) -> set[str]:
    said = schema.get("type", [])
    found = {said} if isinstance(said, str) else set(said)
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= _types(branch)
    if not found and all(isinstance(value, str) for value in schema.get("enum", [0])):
        found = {"string"}
    return found


def _read(name: str, text: str) -> str:
    if text.startswith("@@"):
        return text[1:]
    try:
        if text == "@-":
            return sys.stdin.buffer.read().decode(errors="replace")
        if text.startswith("@"):
            return user_path(text[1:]).read_bytes().decode(errors="replace")
    except OSError as error:
        raise Invalid(f"{name}: cannot read {text[1:]}: {error.strerror}") from None
    return text
