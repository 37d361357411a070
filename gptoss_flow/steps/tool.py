"""The kind `tool`: a call of a tool with arguments that the flow gives."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, ToolFinished, ToolStarted
from gptoss_flow.steps.base import Result, StepContext, StepKeys


class ToolStep(StepKeys):
    """Call a tool."""

    kind: ClassVar[str] = "tool"
    body_keys: ClassVar[tuple[str, ...]] = ("tool", "with")
    secret_keys: ClassVar[tuple[str, ...]] = ("with", "env")
    runs_on: ClassVar = "cores"

    tool: str
    """The tool's name, such as repo_files, read_file or list_files."""
    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]
    """Its arguments."""

    async def run(self, context: StepContext) -> Result:
        arguments = (await context.body()).get("with", {})
        tool = context.tool(self.tool)
        call_id = f"{context.step_id}.{context.attempt}"
        began = context.monotonic()
        context.emit(
            ToolStarted(
                step=context.step_id,
                call_id=call_id,
                tool=self.tool,
                arguments=arguments,
                effect=self.effect or tool.effect,
            ),
        )
        result: Json = None
        error: str | None = "cancelled"
        try:
            result = await tool.call(arguments, context.tool_context)
            error = None
        except StepError as failure:
            error = failure.message
            raise
        finally:
            # A call that is cancelled half-way has an end in the record too.
            context.emit(
                ToolFinished(
                    step=context.step_id,
                    call_id=call_id,
                    tool=self.tool,
                    result=result,
                    error=error,
                    duration_s=context.monotonic() - began,
                ),
            )
        return Result(result)
