"""The client of a server that may be asked by OpenAI's APIs: in all else it behaves as llama.cpp's."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.llama import openai, openai_form, retry
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.exchange import Failed
from gptoss_flow.llama.openai_answer import AnswerReader
from gptoss_flow.llama.request import DEFAULT_MAX_TOKENS
from gptoss_flow.ports import Question, Said, SaidEnd


class OpenAiClient(Client):
    """`ports.Conversations` over HTTP; `ports.Completions` too, where it is llama.cpp that answers."""

    async def converse(self, question: Question) -> AsyncGenerator[Said, None]:
        """Stream an answer; the last event, and only that, has `end`. Leaving the iterator ends the request."""
        api, is_llama = question.api, self.endpoint.api == "llama.cpp"
        asked: str | list[dict[str, Json]] = (
            "".join(each.content for each in question.messages)
            if question.mode == "raw"
            else openai_form.spoken(api, question.messages)
        )
        path, body = openai.question(
            api, self.endpoint.model, asked, question.params, question.reasoning, is_llama=is_llama
        )
        body |= openai_form.demands(question, is_llama=is_llama)
        most = question.params.get("max_tokens")
        most = DEFAULT_MAX_TOKENS if most is None else most

        async def ask(give: Callable[[Said], None], queued_s: float) -> None:
            await self._answer(AnswerReader(api, most), path, body, most, give, queued_s)

        async with aclosing(self._streamed(ask, None)) as events:
            async for event in events:
                yield event

    async def _answer(
        self,
        reader: AnswerReader,
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
            calls=tuple(reader.calls),
        )
        give(Said("final", "", arrived, end))
