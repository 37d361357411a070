"""A model behind llama.cpp's own server, asked the best way for each prompt: with token ids, or by an API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Protocol

from gptoss_flow.errors import StepError
from gptoss_flow.ports import (
    Api,
    Completions,
    Endpoint,
    Generation,
    Message,
    Model,
    OnText,
    PromptRequest,
    Question,
    RenderedPrompt,
    Said,
)
from gptoss_flow.prompt.api_model import ApiModel
from gptoss_flow.prompt.raw import Tokenizer
from gptoss_flow.prompt.served import ServedModel


class LlamaClient(Completions, Protocol):
    """`ports.Completions` and `ports.Conversations` in one: both share the server's slots."""

    def converse(self, question: Question) -> AsyncIterator[Said]: ...


class LlamaModel:
    """Implements `ports.Model`.

    Token ids go to `/completion` wherever that can say it all. What a model of another family than Harmony's is
    told of tools, and how it calls them, only its template knows: such prompts go to `/v1/chat/completions`.
    """

    def __init__(self, endpoint: Endpoint, client: LlamaClient) -> None:
        self._served = ServedModel(endpoint, client)
        tokenizer = Tokenizer(client)
        self._ways: dict[Api, Model] = {
            "completion": self._served,
            "responses": ApiModel(endpoint, client, "responses", tokenizer),
            "chat_completions": ApiModel(endpoint, client, "chat_completions", tokenizer),
        }

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        """Raises `StepError`: "model", not retryable, where mode, API or length do not suit this model."""
        if request.api in ("responses", "chat_completions"):
            return await self._ways[request.api].render(request)
        if not _has_tools(request) or await self._served.mode(request.mode) != "chat":
            return await self._served.render(request)
        if request.api == "completion":
            said = "mode chat with tools is api chat_completions, where the model's own template tells of them"
            raise StepError("model", f"{said}: remove `api: completion`", retryable=False)
        return await self._ways["chat_completions"].render(replace(request, mode="chat"))

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        """Raises `StepError` as the client does, and `UnreadableAnswer`."""
        return await self._ways[prompt.api].generate(prompt, on_text)

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self._ways[prompt.api].extend(prompt, answer, turns)

    async def count_tokens(self, text: str) -> int:
        return await self._served.count_tokens(text)

    async def truncate(self, text: str, tokens: int) -> str:
        return await self._served.truncate(text, tokens)


def _has_tools(request: PromptRequest) -> bool:
    return bool(request.tools) or any(m.role == "tool" or m.tool_calls for m in request.messages)
