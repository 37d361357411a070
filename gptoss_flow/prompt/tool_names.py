"""Tools' names as models say them, and back: a model's format or API may have no dots in a function's name."""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_flow.errors import StepError
from gptoss_flow.ports import PromptRequest, ToolSpec
from gptoss_flow.words import TOOL_NAME, function_name


class ToolNames:
    """The names of one request's tools. Raises `StepError("model", …)` for names that cannot be told apart."""

    def __init__(self, tools: Sequence[ToolSpec]) -> None:
        self._told: dict[str, str] = {}
        for tool in tools:
            said = spoken(tool.name)
            if said in self._told:
                raise _refused(f"two tools are called {said}: {self._told[said]} and {tool.name}")
            self._told[said] = tool.name

    def told(self, said: str) -> str:
        """The tool that a model means; the name as it said it where it has none of the kind."""
        return self._told.get(function_name(said), said)


def require_choice(request: PromptRequest) -> None:
    """Raises `StepError("model", …)` where a call is demanded of a tool that is not given, or of none."""
    choice, names = request.tool_choice, [tool.name for tool in request.tools]
    if choice in ("auto", "none") or (names and (choice == "required" or choice in names)):
        return
    given = f"it has {', '.join(names)}" if names else "it has no tools"
    raise _refused(f"tool_choice is {choice[:80]!r}, which the prompt does not give: {given}")


def checked(name: str) -> str:
    """The name, which can be no part of a header but a name. Raises `StepError("model", …)`."""
    if not TOOL_NAME.fullmatch(name):
        raise _refused(f"{name[:80]!r} is no name of a tool: it has 1 to 64 of the characters A-Z a-z 0-9 _ . -")
    return name


def spoken(name: str) -> str:
    """A tool's name as a function's: without dots, `ui_pane.move` is `ui_pane__move`."""
    said = function_name(checked(name))
    if not TOOL_NAME.fullmatch(said):
        raise _refused(f"the tool {name} is {said} to a model, which is longer than 64 characters")
    return said


def _refused(message: str) -> StepError:
    return StepError("model", message, retryable=False)
