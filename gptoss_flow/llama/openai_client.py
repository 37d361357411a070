"""The client of a server that is asked by one of OpenAI's APIs: in all else it behaves as llama.cpp's."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Literal

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.llama import openai, retry
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.exchange import Failed
from gptoss_flow.llama.request import DEFAULT_MAX_TOKENS
from gptoss_flow.ports import Message, Said, SaidEnd

# The roles that every such server knows; a developer's message is the older "system".
_ROLES: Mapping[str, str] = {"developer": "system"}


class OpenAiClient(Client):
    """`ports.Conversations` over HTTP, for one endpoint whose `api` is not llama.cpp's."""

    async def converse(
        self,
        mode: Literal["raw", "chat"],
        messages: Sequence[Message],
        params: Mapping[str, Json],
        reasoning: str | None = None,
    ) -> AsyncGenerator[Said, None]:
        """Stream an answer; the last event, and only that, has `end`. Leaving the iterator ends the request."""
        api = self.endpoint.api
        assert api != "llama.cpp"
        asked: str | list[dict[str, str]] = (
            "".join(each.content for each in messages)
            if mode == "raw"
            else [{"role": _ROLES.get(each.role, each.role), "content": each.content} for each in messages]
        )
        path, body = openai.question(api, self.endpoint.model, asked, params, reasoning)
        most = params.get("max_tokens")
        most = DEFAULT_MAX_TOKENS if most is None else most

        async def ask(give: Callable[[Said], None], queued_s: float) -> None:
            await self._answer(openai.AnswerReader(api, most), path, body, most, give, queued_s)

        async with aclosing(self._streamed(ask, None)) as events:
            async for event in events:
                yield event

    async def _answer(
        self,
        reader: openai.AnswerReader,
        path: str,
        body: Mapping[str, Json],
        max_tokens: int,
        give: Callable[[Said], None],
        queued_s: float,
    ) -> None:
        # What a model thinks comes in events of its own, and some servers send one for a part of a token.
        events_left = 4 * max_tokens + self._limits.spare_events
        sent = arrived = time.perf_counter()
        async with aclosing(self._http.events(path, body, events_left * self._limits.event_bytes)) as events:
            async for arrived, data in events:
                events_left -= 1
                if events_left < 0:
                    raise StepError("server", "the server sends more than was asked for", retryable=False)
                for channel, text in reader.take(data):
                    give(Said(channel, text, arrived))
                if reader.is_whole:
                    break
        if not reader.end_of_body():
            raise Failed(retry.Cut("the stream ended without its last event"))
        end = SaidEnd(
            finish_reason=reader.finish_reason,
            usage=reader.usage,
            timings=reader.timings,
            sent=sent,
            queued_s=queued_s,
            called_a_tool=reader.called_a_tool,
        )
        give(Said("final", "", arrived, end))
