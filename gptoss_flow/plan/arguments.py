"""Places what is wrong with a tool step's name and arguments, as far as they are known before the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gptoss_flow.arguments import check_arguments
from gptoss_flow.errors import Problem
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.ports import Tool
from gptoss_flow.words import suggest


def argument_problems(
    loaded: LoadedFlow, path: Path, step: Mapping[str, Any], tools: Mapping[str, Tool]
) -> Iterator[Problem]:
    """Every problem of a tool step's `tool` and `with`."""
    name, given = step.get("tool"), step.get("with", {})
    if not isinstance(name, str) or not isinstance(given, dict):
        return  # its shape is already a problem
    if name not in tools:
        yield Problem(loaded.mark((*path, "tool")), f'"{name}" is not a tool', suggest(name, tools))
        return
    for problem in check_arguments(tools[name], given, templated=True):
        where = (*path, "with", *problem.path)
        if not problem.path:  # one is missing
            mark = loaded.key_mark(path)
        elif problem.path[0] not in tools[name].parameters.get("properties", {}):
            mark = loaded.key_mark(where)
        else:
            mark = loaded.mark(where)
        yield Problem(mark, problem.message, problem.hint)
