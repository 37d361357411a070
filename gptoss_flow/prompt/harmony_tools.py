"""Tools as Harmony knows them: functions in TypeScript form, and the two tools that gpt-oss was trained with.

A function `x` is called by the recipient `functions.x`; `browser.search`, `browser.open`, `browser.find` and
`python` have their own sections in the system message, and are called by their own names.
"""

from __future__ import annotations

from collections.abc import Sequence

import openai_harmony as oh

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolSpec
from gptoss_flow.prompt.tool_names import ToolNames, checked, spoken

BROWSER = ("browser.search", "browser.open", "browser.find")
PYTHON = "python"

_PYTHON_USE = (
    "Use this tool to execute Python code in your chain of thought. The code will not be shown to the user. "
    "This tool should be used for internal reasoning, but not for code that is intended to be visible to the user "
    "(e.g. when creating plots, tables, or files)."
)


def is_built_in(name: str) -> bool:
    return name == PYTHON or name in BROWSER


def recipient(name: str) -> str:
    """Who a call of this tool goes to, and its answer comes from. Raises `StepError("model", …)`."""
    return checked(name) if is_built_in(name) else f"functions.{spoken(name)}"


def called(to: str, names: ToolNames) -> str:
    """The tool that a recipient means: `functions.x` and `x` are the same."""
    name = to.removeprefix("functions.")
    return name if is_built_in(name) else names.told(name)


def system_tools(tools: Sequence[ToolSpec]) -> list[oh.ToolNamespaceConfig]:
    """The sections of the system message, of the built-in tools that are among these."""
    given = {tool.name: tool for tool in tools}
    sections = []
    if any(name in given for name in BROWSER):
        browser = oh.ToolNamespaceConfig.browser()
        functions = [each for each in browser.tools if f"browser.{each.name}" in given]
        sections.append(browser.model_copy(update={"tools": functions}))
    if python := given.get(PYTHON):
        # Harmony's own text tells of a notebook, a drive and a time limit that are not ours.
        said = f"{_PYTHON_USE}\n\n{python.description}"
        sections.append(oh.ToolNamespaceConfig(name=PYTHON, description=said, tools=[]))
    return sections


def functions(tools: Sequence[ToolSpec]) -> list[oh.ToolDescription]:
    """The tools of the developer message's namespace `functions`. Raises `StepError("model", …)`."""
    ToolNames(tools)
    return [
        oh.ToolDescription.new(spoken(each.name), each.description, parameters=_parameters(each))
        for each in tools
        if not is_built_in(each.name)
    ]


def _parameters(tool: ToolSpec) -> dict[str, Json] | None:
    return dict(tool.parameters) if tool.parameters.get("properties") else None
