"""A call of a tool, on record from its start to its end: a step's own, or one that a model makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, Permission, ToolFinished, ToolStarted, Warned
from gptoss_flow.permissions import Verdict
from gptoss_flow.ports import Asking, Tool, ToolContext
from gptoss_flow.steps.base import StepContext
from gptoss_flow.tool_marks import Effect

NOBODY = "a person would have to allow it, and there is no terminal to ask at"


@dataclass(frozen=True, slots=True)
class Done:
    """A call that ended."""

    result: Json
    error: StepError | None
    duration_s: float


async def perform(
    context: StepContext,
    tool: Tool,
    arguments: Mapping[str, Json],
    tool_context: ToolContext,
    *,
    permission: Permission = "",
    effect: Effect | None = None,
) -> Done:
    """Make a call. Raises `StepError` where the run may not make it, and what is no error of the tool's own."""
    call_id = tool_context.call_id
    if tool_context.grants.sandbox == "dangerously_none" and tool_context.grants.unsandboxed:
        context.emit(
            Warned(step=context.step_id, message=f"{tool.name} runs without a sandbox, with all your rights")
        )
    began = context.monotonic()
    context.emit(
        ToolStarted(
            step=context.step_id,
            call_id=call_id,
            tool=tool.name,
            arguments=dict(arguments),
            effect=effect or tool.effect,
            permission=permission,
        )
    )
    result: Json = None
    error: StepError | None = None
    said: str | None = "cancelled"
    try:
        result = await tool.call(arguments, tool_context)
        said = None
    except StepError as failure:
        error, said = failure, failure.message
    finally:
        # A call that is cancelled half-way has an end in the record too.
        duration_s = context.monotonic() - began
        if (took_then := getattr(tool, "took_then", None)) is not None:
            duration_s = took_then(call_id)  # a tool that answers from a record takes as long as it did
        context.emit(
            ToolFinished(
                step=context.step_id,
                call_id=call_id,
                tool=tool.name,
                result=result,
                error=said,
                unsure=error is not None and error.unsure,
                duration_s=duration_s,
            )
        )
    return Done(result, error, duration_s)


def refuse(
    context: StepContext,
    call_id: str,
    tool: str,
    arguments: Mapping[str, Json],
    *,
    permission: Permission,
    why: str,
    written: str = "",
) -> None:
    """Put a call on record that is not made."""
    step = context.step_id
    context.emit(
        ToolStarted(
            step=step,
            call_id=call_id,
            tool=tool,
            arguments=dict(arguments),
            permission=permission,
            written=written,
        )
    )
    context.emit(ToolFinished(step=step, call_id=call_id, tool=tool, error=why))


async def permit(context: StepContext, verdict: Verdict, asking: Asking) -> tuple[Permission, str]:
    """The permission of a call, and why it is not made; empty where it is."""
    match verdict.word:
        case "granted" | "allowed":
            return verdict.word, ""
        case "denied":
            return "denied", f"the flow's permissions deny it ({verdict.rule})"
        case "ask":
            word = await context.ask(asking)
            why = {"approved": "", "declined": "the user said no to it", "unasked": f"{NOBODY} ({verdict.rule})"}
            return word, why[word]
