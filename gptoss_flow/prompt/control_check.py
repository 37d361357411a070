"""Refuses contents that spell a control token, where the server puts them into the model's template as text."""

from __future__ import annotations

import json
from collections.abc import Iterator

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import PromptRequest
from gptoss_flow.prompt.raw import Tokenizer


async def require_plain(tokenizer: Tokenizer, request: PromptRequest) -> None:
    """Raises `StepError("model", …)` if anything in the request would become a control token of the prompt."""
    parts = [part for part in _parts(request) if part[1]]
    # All at once first: two calls of the server in place of two for each.
    if not await tokenizer.spells_control("\n".join(text for _, text in parts)):
        return
    found = [(what, name) for what, text in parts if (name := await tokenizer.spells_control(text))]
    what, name = found[0] if found else ("the conversation", "of several parts")
    said = f"{what} spells a control token of this model ({name}), which its template would take for one"
    hint = "change the text, or ask without tools and without `api`, where contents are only ever text"
    raise StepError("model", f"{said}: {hint}", retryable=False)


def _parts(request: PromptRequest) -> Iterator[tuple[str, str]]:
    """Whatever becomes part of the prompt, and what to call it."""
    for i, message in enumerate(request.messages, 1):
        yield f"message {i} ({message.role})", message.content
        yield f"the reasoning of message {i}", message.reasoning
        for call in message.tool_calls:
            yield f"a call of {call.name}", call.arguments
            for text in _texts(_parsed(call.arguments)):  # the server reads it, and may write it without escapes
                yield f"a call of {call.name}", text
    for tool in request.tools:
        yield f"the description of the tool {tool.name}", tool.description
        for text in _texts(tool.parameters):
            yield f"the parameters of the tool {tool.name}", text
    for text in _texts(request.schema):
        yield "the schema", text


def _parsed(arguments: str) -> Json:
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return None


def _texts(value: Json) -> Iterator[str]:
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str() as text:
                yield text
            case dict() as mapping:
                waiting += [*mapping.keys(), *mapping.values()]
            case list() as items:
                waiting += items
