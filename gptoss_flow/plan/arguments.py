"""Places what is wrong with a tool step's name and arguments, as far as they are known before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from gptoss_flow.arguments import check_arguments, fault_alone
from gptoss_flow.errors import Problem
from gptoss_flow.events import Json
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.plan.plan import Values
from gptoss_flow.plan.reader import Reader
from gptoss_flow.ports import Tool
from gptoss_flow.words import suggest


def argument_problems(reader: Reader, body: Values, tools: Mapping[str, Tool]) -> Iterator[Problem]:
    """Every problem of a tool step's `tool` and `with`."""
    loaded, path, step = reader.loaded, body.path, body.compiled.data
    name, given = step.get("tool"), step.get("with", {})
    if not isinstance(name, str) or not isinstance(given, dict):
        return  # its shape is already a problem
    if name not in tools:
        yield Problem(loaded.mark((*path, "tool")), f'"{name}" is not a tool', suggest(name, tools))
        return
    arguments = {**given, **reader.entries_now(given, (*path, "with"))}
    yield from misfits(loaded, path, tools[name], arguments)
    said, hint = fault_alone(tools[name], arguments)
    if said:
        yield Problem(loaded.mark((*path, "tool")), said, hint)


def misfits(loaded: LoadedFlow, path: Path, tool: Tool, arguments: Mapping[str, Json]) -> Iterator[Problem]:
    """What a tool does not take of the arguments that the step at `path` gives it; expressions are not judged."""
    for problem in check_arguments(tool, arguments, templated=True):
        where = (*path, "with", *problem.path)
        if not problem.path:  # one is missing
            mark = loaded.key_mark(path)
        elif problem.path[0] not in tool.parameters.get("properties", {}):
            mark = loaded.key_mark(where)
        else:
            mark = loaded.mark(where)
        yield Problem(mark, problem.message, problem.hint)
