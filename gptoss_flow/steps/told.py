"""What a prompt asks, as results and the record have it: plain JSON, without what is not there."""

from __future__ import annotations

from gptoss_flow.events import Json
from gptoss_flow.ports import Message, PromptRequest, ToolCall


def told(message: Message) -> dict[str, Json]:
    """A message of a conversation."""
    said: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.reasoning:
        said["reasoning"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [call_told(call) for call in message.tool_calls]
    if message.role == "tool":
        said |= {"tool_call_id": message.tool_call_id, "name": message.name}
    return said


def call_told(call: ToolCall) -> dict[str, Json]:
    return {"id": call.id, "name": call.name, "arguments": call.arguments}


def tools_told(request: PromptRequest) -> list[dict[str, Json]]:
    """What the model may call."""
    return [
        {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
        for tool in request.tools
    ]


def asks_told(request: PromptRequest) -> dict[str, Json]:
    """What is asked of the answer, beside the conversation."""
    given = {
        "tool_choice": request.tool_choice if request.tools and request.tool_choice != "auto" else None,
        "schema": request.schema,
        "grammar": request.grammar,
        "api": request.api,
        "on_overflow": request.on_overflow,
    }
    return {name: value for name, value in given.items() if value is not None}
