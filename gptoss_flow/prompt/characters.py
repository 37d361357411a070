"""What can be said to a model: texts without lone surrogates, schemas that are not nested without end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.ports import Message, PromptRequest, ToolCall, ToolSpec

_DEEPEST = 64


def characters(text: str) -> str:
    """The text with lone surrogates, which no encoding can say, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def sayable(request: PromptRequest) -> PromptRequest:
    """The request with `characters` only, in all that becomes part of a prompt. Raises `StepError("model", …)`."""
    return replace(
        request,
        messages=tuple(map(sayable_message, request.messages)),
        tools=tuple(map(_tool, request.tools)),
        schema=_schema("the schema", request.schema),
    )


def sayable_message(message: Message) -> Message:
    return replace(
        message,
        content=characters(message.content),
        reasoning=characters(message.reasoning),
        tool_calls=tuple(map(_call, message.tool_calls)),
    )


def _call(call: ToolCall) -> ToolCall:
    return replace(call, arguments=characters(call.arguments))


def _tool(tool: ToolSpec) -> ToolSpec:
    parameters = _schema(f"the schema of the tool {tool.name[:64]}", tool.parameters)
    return replace(tool, description=characters(tool.description), parameters=parameters)


def _schema(what: str, value: Any) -> Any:
    deep, level = 0, [value]
    while level:
        deep += 1
        if deep > _DEEPEST:
            raise StepError("model", f"{what} is nested deeper than {_DEEPEST}", retryable=False)
        inner: list[Any] = []
        for each in level:
            inner += each.values() if isinstance(each, dict) else each if isinstance(each, list) else []
        level = inner
    return _json(value)


def _json(value: Any) -> Any:
    match value:
        case str():
            return characters(value)
        case dict():
            return {characters(key): _json(each) for key, each in value.items()}
        case list():
            return [_json(each) for each in value]
    return value
