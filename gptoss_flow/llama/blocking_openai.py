"""One question, by one of OpenAI's APIs, for a command that asks just that: one connection, no retries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from gptoss_flow.errors import StepError
from gptoss_flow.llama import openai
from gptoss_flow.llama.blocking import SPARE_EVENTS, BlockingClient
from gptoss_flow.llama.openai_answer import AnswerReader

if TYPE_CHECKING:
    from gptoss_flow.events import Json


class BlockingOpenAi(BlockingClient):
    """A connection to a server that calls its model `model`. `answer` is that of the last question."""

    is_llama = False

    def __init__(self, url: str, key: str | None, api: openai.Api, model: str) -> None:
        super().__init__(url, key)
        self._api = api
        self._model = model
        self.answer: AnswerReader

    def ask(self, prompt: str, params: Mapping[str, Json]) -> Iterator[str]:
        """The answer's text as it arrives: how a text goes on or, by Responses, what is answered to it."""
        messages = prompt if self._api == "chat_completions" else [{"role": "user", "content": prompt}]
        path, body = openai.question(self._api, self._model, messages, params)
        most: int = body[openai.NAMES[self._api]["max_tokens"]]
        self.answer = AnswerReader(self._api, most)
        for data in self._events(path, body, 4 * most + SPARE_EVENTS):
            for channel, text in self.answer.take(data):
                if channel == "final":
                    yield text
            if self.answer.is_whole:
                return
        if not self.answer.end_of_body():
            raise StepError("server", "the answer broke off: the stream ended without its last event")
