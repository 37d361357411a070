"""A conversation with tools in the forms of OpenAI's two APIs. Pure.

Chat Completions nests what a function is under `function` and has calls and thoughts within a message; Responses
has a flat shape, and calls, their outputs and thoughts as items of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from gptoss_flow.errors import StepError

if TYPE_CHECKING:
    from gptoss_flow.events import Json
    from gptoss_flow.llama.openai import Api
    from gptoss_flow.ports import Message, Question, ToolCall, ToolSpec

# The roles that every such server knows; a developer's message is the older "system".
_ROLES: Mapping[str, str] = {"developer": "system"}
_FORM = "answer"
"""What the schema of an answer is called."""


def spoken(api: Api, messages: Sequence[Message]) -> list[dict[str, Json]]:
    """The conversation: messages, or the items of `input`."""
    if api == "chat_completions":
        return [_chat_message(message) for message in messages]
    return [item for message in messages for item in _response_items(message)]


def demands(question: Question, *, is_llama: bool) -> dict[str, Json]:
    """What the body says of tools and of the answer's form. Raises `StepError("model", …)`.

    To demand one tool, only that one is given and a call required: not every server knows the form for it.
    """
    body: dict[str, Json] = {}
    tools = [tool for tool in question.tools if question.tool_choice in ("auto", "none", "required", tool.name)]
    if tools:
        body["tools"] = [_tool(question.api, tool) for tool in tools]
        choice = question.tool_choice
        body["tool_choice"] = choice if choice in ("auto", "none", "required") else "required"
    if question.schema is not None:
        body |= _schema(question.api, dict(question.schema), is_llama=is_llama)
    if question.grammar is not None:
        if not is_llama:
            raise _refused(f"api {question.api} cannot say a grammar; write `schema`, or ask a llama.cpp server")
        if tools:
            raise _refused(f"api {question.api} has no grammar beside tools: remove one, or take mode harmony")
        body["grammar"] = question.grammar
    return body


def _chat_message(message: Message) -> dict[str, Json]:
    said: dict[str, Json] = {"role": _ROLES.get(message.role, message.role), "content": message.content}
    if message.role == "tool":
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
        if message.reasoning:  # only a server that told it can have it: OpenAI's own does not
            said["reasoning_content"] = message.reasoning
    return said


def _response_items(message: Message) -> Iterator[dict[str, Json]]:
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.tool_call_id, "output": message.content}
        return
    if message.tool_calls and message.reasoning:
        thought = {"type": "reasoning_text", "text": message.reasoning}
        yield {"type": "reasoning", "summary": [], "content": [thought]}
    if message.role == "assistant":
        if message.content or not message.tool_calls:
            yield {"type": "message", "role": "assistant", "content": [_output_text(message.content)]}
    else:
        yield {"role": _ROLES.get(message.role, message.role), "content": message.content}
    yield from map(_function_call, message.tool_calls)


def _output_text(text: str) -> dict[str, Json]:
    return {"type": "output_text", "text": text}


def _function_call(call: ToolCall) -> dict[str, Json]:
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}


def _tool(api: Api, tool: ToolSpec) -> dict[str, Json]:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return (
        {"type": "function", "function": function}
        if api == "chat_completions"
        else {"type": "function"} | function
    )


def _schema(api: Api, schema: dict[str, Json], *, is_llama: bool) -> dict[str, Json]:
    chat: dict[str, Json] = {
        "response_format": {"type": "json_schema", "json_schema": {"name": _FORM, "schema": schema}}
    }
    if api == "chat_completions":
        return chat
    said = {"text": {"format": {"type": "json_schema", "name": _FORM, "schema": schema}}}
    return said | chat if is_llama else said  # llama.cpp's Responses know a schema by the other API's name only


def _refused(message: str) -> StepError:
    return StepError("model", message, retryable=False)
