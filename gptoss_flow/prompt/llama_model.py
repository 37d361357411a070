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
        self._endpoint = endpoint
        self._client = client
        self._served = ServedModel(endpoint, client)
        tokenizer = Tokenizer(client)
        self._ways: dict[Api, Model] = {
            "completion": self._served,
            "responses": ApiModel(endpoint, client, "responses", tokenizer),
            "chat_completions": ApiModel(endpoint, client, "chat_completions", tokenizer),
        }

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        """Raises `StepError`: "model", not retryable, where mode, API or length do not suit this model."""
        has_tools = _has_tools(request)
        if request.api in ("responses", "chat_completions"):
            if has_tools:
                await self._require_tools()
            return await self._ways[request.api].render(request)
        if not has_tools or await self._served.mode(request.mode) != "chat":
            return await self._served.render(request)
        if request.api == "completion":
            said = "mode chat with tools is api chat_completions, where the model's own template tells of them"
            raise StepError("model", f"{said}: remove `api: completion`", retryable=False)
        await self._require_tools()
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

    async def _require_tools(self) -> None:
        """A template that knows no tools leaves them out, and the server says nothing of it."""
        can = (await self._client.props()).get("chat_template_caps")
        if isinstance(can, dict) and can.get("supports_tools") is False:
            said = f"the chat template of {self._endpoint.model} knows no tools"
            hint = "take a model whose template does, such as gpt-oss, or ask without tools"
            raise StepError("model", f"{said}: {hint}", retryable=False)


def _has_tools(request: PromptRequest) -> bool:
    return bool(request.tools) or any(m.role == "tool" or m.tool_calls for m in request.messages)
