"""A model behind one of OpenAI's APIs: messages go out as text, an answer comes back; there are no token ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Literal

from gptoss_flow import metrics
from gptoss_flow.errors import StepError
from gptoss_flow.ports import (
    Conversations,
    Endpoint,
    Generation,
    Message,
    OnText,
    PromptRequest,
    RenderedPrompt,
    SaidEnd,
    UnreadableAnswer,
    continued,
)
from gptoss_flow.prompt.characters import sayable
from gptoss_flow.prompt.served import DEFAULT_MAX_TOKENS

NO_TOKENS = "needs llama.cpp's own server (api: llama.cpp in the profile)"


class ApiModel:
    """Implements `ports.Model`. The server's own template makes the prompt, whatever the messages hold."""

    def __init__(self, endpoint: Endpoint, conversations: Conversations) -> None:
        self._endpoint = endpoint
        self._conversations = conversations

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        """Raises `StepError` ("model", not retryable) for what cannot be asked this way."""
        request = sayable(request)
        mode: Literal["raw", "chat"] = "raw" if request.mode == "raw" else "chat"
        if request.mode == "harmony":
            _refuse("mode harmony", "write `mode: auto`, which leaves the template to the server")
        if request.special:
            _refuse("special: allow", "remove it")
        if mode == "raw" and self._endpoint.api == "responses":
            _refuse("mode raw", "write `mode: chat`, or set api: chat_completions")
        params = {"max_tokens": DEFAULT_MAX_TOKENS, **self._endpoint.request, **request.params}
        return RenderedPrompt(
            mode=mode,
            messages=request.messages,
            tokens=(),
            params=params,
            step=request.step,
            reasoning=request.reasoning,
            request=request,
        )

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        """Raises `StepError` as `Conversations` does, and `UnreadableAnswer`."""
        assert prompt.mode != "harmony"
        texts: dict[str, list[str]] = {"analysis": [], "final": []}
        arrivals: list[metrics.Arrival] = []
        first_final: float | None = None
        end: SaidEnd | None = None
        events = self._conversations.converse(prompt.mode, prompt.messages, prompt.params, prompt.reasoning)
        try:
            async for said in events:
                end = said.end or end
                if not said.text:
                    continue
                arrivals.append((said.arrived, 1))
                if said.channel == "final" and first_final is None:
                    first_final = said.arrived
                texts.setdefault(said.channel, []).append(said.text)
                on_text(said.channel, said.text, 1)
        finally:
            if isinstance(events, AsyncGenerator):
                await events.aclose()
        if end is None:
            raise StepError("server", "the answer ended before its end")
        return _sound(_generation(texts, arrivals, first_final, end), end)

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self.render(continued(prompt, answer, turns))

    async def count_tokens(self, text: str) -> int:
        raise _no_tokens("the number of tokens")

    async def truncate(self, text: str, tokens: int) -> str:
        raise _no_tokens("truncate_tokens")


def _generation(
    texts: dict[str, list[str]], arrivals: list[metrics.Arrival], first_final: float | None, end: SaidEnd
) -> Generation:
    if arrivals:  # as many tokens as the server counted, of which only the last piece can hold more than one
        at, _ = arrivals[-1]
        arrivals[-1] = (at, max(1, end.usage["completion_tokens"] - len(arrivals) + 1))
    return Generation(
        text="".join(texts["final"]),
        reasoning="".join(texts["analysis"]),
        tokens=(),
        finish_reason=end.finish_reason,
        usage=end.usage,
        timings=metrics.timings(
            end.sent,
            arrivals,
            end.timings,
            finished=arrivals[-1][0] if arrivals else None,
            first_final=first_final,
            queued_s=end.queued_s,
        ),
    )


def _sound(generation: Generation, end: SaidEnd) -> Generation:
    if end.called_a_tool:
        raise UnreadableAnswer("the model called a tool that this step does not give it", generation)
    if generation.reasoning and not generation.text and generation.finish_reason == "stop":
        raise UnreadableAnswer("the model ended its turn without an answer", generation)
    return generation


def _no_tokens(what: str) -> StepError:
    return StepError("model", f"{what} {NO_TOKENS}", retryable=False)


def _refuse(what: str, hint: str) -> None:
    raise StepError("model", f"{what} {NO_TOKENS}; or {hint}", retryable=False)
