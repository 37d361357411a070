"""Tools whose results and errors come back without the flow's secrets: a prompt may quote what a tool said."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import Tool, ToolContext
from gptoss_flow.record.redact import Redactor


class MaskedTool:
    """A `Tool` that is another one, but for what it says of secrets."""

    def __init__(self, tool: Tool, redactor: Redactor) -> None:
        self._tool, self._redactor = tool, redactor
        self.name, self.effect, self.code = tool.name, tool.effect, tool.code
        # A tool server may say in its tools' descriptions what it was told in its headers.
        self.description = redactor.named(tool.description)
        self.parameters: Mapping[str, Json] = redactor.named_value(dict(tool.parameters))

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        try:
            return self._redactor.named_value(await self._tool.call(arguments, context))
        except StepError as error:
            error.message = self._redactor.named(error.message)
            raise


def masking(redactor: Redactor) -> Callable[[Tool], Tool] | None:
    """How the tools of a run are wrapped; not at all where it has no secrets."""
    return (lambda tool: MaskedTool(tool, redactor)) if redactor.spellings else None
