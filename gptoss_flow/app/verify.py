"""Real models held against a record: each request must be the same tokens, and each answer too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from gptoss_flow.app.replay import Apart
from gptoss_flow.ports import Generation, Message, Model, Models, OnText, PromptRequest, RenderedPrompt
from gptoss_flow.record.differences import first_token_apart
from gptoss_flow.record.tape import Asked, Tape


class VerifiedModels:
    """`ports.Models` over real ones. Raises `Mismatch` at the first token that is another one."""

    def __init__(self, tape: Tape, live: Models, apart: Apart) -> None:
        self._tape = tape
        self._live = live
        self._apart = apart

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        return await self._live.prepare(servers)

    def identity(self, server: str) -> Mapping[str, str]:
        return self._live.identity(server)

    async def get(self, server: str) -> Model:
        return _VerifiedModel(await self._live.get(server), self._tape, self._apart)

    async def release(self, server: str) -> None:
        await self._live.release(server)

    async def close(self) -> None:
        await self._live.close()


class _VerifiedModel:
    def __init__(self, model: Model, tape: Tape, apart: Apart) -> None:
        self._model = model
        self._tape = tape
        self._apart = apart
        self._asked: Asked | None = None
        self.count_tokens = model.count_tokens
        self.truncate = model.truncate

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        return await self._verified(request.step, lambda: self._model.render(request))

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self._verified(prompt.step, lambda: self._model.extend(prompt, answer, turns))

    async def _verified(self, step: str, render: Callable[[], Awaitable[RenderedPrompt]]) -> RenderedPrompt:
        waiting = self._tape.asked.get(step)
        if not waiting:
            raise self._apart.at(step, "the record has no further request of it")
        self._asked = waiting.popleft()
        rendered = await render()
        then = self._asked.prompt.tokens
        if then and (apart := first_token_apart(rendered.tokens, then)):
            raise self._apart.at(step, f"of its prompt, {apart}", f"attempt {self._asked.prompt.attempt}")
        return rendered

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        generation = await self._model.generate(prompt, on_text)
        answer = self._asked.answer if self._asked else None
        if answer is not None and answer.tokens and (apart := first_token_apart(generation.tokens, answer.tokens)):
            raise self._apart.at(prompt.step, f"of its answer, {apart}")
        return generation
