"""A flow of a user with Python functions of his own: files beside it, and what becomes of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.load import load_flow
from gptoss_flow.plan.compile import compile_flow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Tool, ToolContext
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.registry import own_tools


def compiled(folder: Path, flow: str, **files: str) -> Plan:
    """The plan of a flow with Python files beside it, `helpers="…"` being `helpers.py`. Raises `Invalid`."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    path = folder / "flow.yaml"
    path.write_text(flow)
    return compile_flow(load_flow(path, folder), TOOLS, lambda loaded: own_tools(loaded, TOOLS))


def problems(folder: Path, flow: str, **files: str) -> list[str]:
    """What is wrong, without the folder in front of each place."""
    try:
        compiled(folder, flow, **files)
    except Invalid as error:
        return [str(problem).replace(f"{folder}/", "") for problem in error.problems]
    return []


def function(folder: Path, text: str, name: str = "f") -> Tool:
    """A function of a file beside a flow, as the tool that it is."""
    (folder / "helpers.py").write_text(text)
    named, path = f"./helpers.py:{name}", folder / "named.yaml"
    path.write_text(f'version: 1\nsteps: {{a: {{tool: "{named}"}}}}\n')
    own = own_tools(load_flow(path, folder), TOOLS)
    if own.problems:
        raise Invalid(*own.problems)
    return own.tools[named]


def called(tool: Tool, arguments: Mapping[str, Any], workspace: Path) -> Any:
    return asyncio.run(tool.call(arguments, ToolContext(workspace=workspace)))
