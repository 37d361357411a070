"""A model behind a llama.cpp server: a question becomes token ids, the ids that come back become an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import takewhile
from typing import Literal, assert_never

from gptoss_flow import metrics
from gptoss_flow.errors import StepError, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.ports import (
    Chunk,
    Completions,
    Endpoint,
    FinalChunk,
    Generation,
    Message,
    Mode,
    OnText,
    PromptRequest,
    RenderedPrompt,
    UnreadableAnswer,
    continued,
)
from gptoss_flow.prompt import harmony, harmony_grammar, overflow
from gptoss_flow.prompt.answer import HarmonyAnswer, PlainAnswer
from gptoss_flow.prompt.characters import characters, sayable
from gptoss_flow.prompt.chat import ChatTemplate
from gptoss_flow.prompt.harmony_extend import gone_on
from gptoss_flow.prompt.raw import Tokenizer
from gptoss_flow.prompt.tool_names import require_choice

TokenMode = Literal["raw", "chat", "harmony"]

DEFAULT_MAX_TOKENS = 512
_MANGLED = 4
"""Characters that a cut in the middle of one may come back as, one for each of its bytes."""


class ServedModel:
    """Implements `ports.Model`. What was learnt of the model is asked for once."""

    def __init__(self, endpoint: Endpoint, completions: Completions) -> None:
        self._endpoint = endpoint
        self._completions = completions
        self._tokenizer = Tokenizer(completions)
        self._template = ChatTemplate(completions, self._tokenizer)
        self._speaks_harmony: bool | None = None
        self._learning = asyncio.Lock()

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        """Raises `StepError`: "model", not retryable, where the mode or the length does not suit this model."""
        request = sayable(request)
        require_choice(request)
        if request.schema is not None and request.grammar is not None:
            raise StepError("model", "schema and grammar exclude each other", retryable=False)
        mode = await self.mode(request.mode)
        tokens = await self._tokens(mode, request)
        if mode == "raw" or request.on_overflow is None or self._fits(tokens, request):
            return self._rendered(mode, tokens, request)
        if request.on_overflow == "raw":
            return await self._as_raw(tokens, request)
        return await self._without_oldest(mode, request)

    def _rendered(self, mode: TokenMode, tokens: Sequence[int], request: PromptRequest) -> RenderedPrompt:
        room = self._room(len(tokens))
        params = {"max_tokens": min(DEFAULT_MAX_TOKENS, room), **self._endpoint.request, **request.params}
        return RenderedPrompt(
            mode=mode,
            messages=request.messages,
            tokens=tuple(tokens),
            params=params,
            step=request.step,
            request=request,
        )

    # --- what does not fit -----------------------------------------------------------------------------------

    def _fits(self, tokens: Sequence[int], request: PromptRequest) -> bool:
        params = {**self._endpoint.request, **request.params}
        wanted = overflow.room_wanted(params, self._endpoint.context_tokens, DEFAULT_MAX_TOKENS)
        return len(tokens) + wanted <= self._endpoint.context_tokens

    async def _without_oldest(self, mode: TokenMode, request: PromptRequest) -> RenderedPrompt:
        """Leaves out as few of the oldest turns as it takes, found by halving: each trial is rendered."""
        turns = overflow.droppable(request.messages)

        async def left(count: int) -> tuple[tuple[Message, ...], list[int]]:
            messages = overflow.without(request.messages, turns[:count])
            return messages, await self._tokens(mode, replace(request, messages=messages))

        fewest, most = 0, len(turns)
        while fewest < most:
            middle = (fewest + most) // 2
            if self._fits((await left(middle))[1], request):
                most = middle
            else:
                fewest = middle + 1
        messages, tokens = await left(fewest)
        rendered = self._rendered(mode, tokens, request)
        if not fewest:
            return rendered
        gone = len(request.messages) - len(messages)
        said = f"the conversation does not fit into {self._endpoint.context_tokens} tokens"
        warning = f"{said}: its oldest {gone} messages were left out (on_overflow)"
        return replace(rendered, messages=messages, warnings=(warning,))

    async def _as_raw(self, tokens: Sequence[int], request: PromptRequest) -> RenderedPrompt:
        if request.tools:
            said = f"the prompt has {len(tokens)} tokens, which leave no room, and raw mode has no tools"
            raise StepError("model", f"{said}: write `on_overflow: truncate_history`", retryable=False)
        text = "\n\n".join(m.content for m in request.messages if m.content)
        rendered = self._rendered("raw", await self._tokenizer.prompt(text, special=False), request)
        said = f"the prompt of {len(tokens)} tokens leaves no room in {self._endpoint.context_tokens}"
        return replace(rendered, warnings=(f"{said}: sent in raw mode (on_overflow)",))

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        """Raises `StepError` as `Completions` does, and `UnreadableAnswer`."""
        answer = await self._reader(prompt)
        tokens: list[int] = []
        arrivals: list[metrics.Arrival] = []
        first_final: float | None = None
        final: FinalChunk | None = None
        async with _closed_at_once(self._completions.complete(prompt.tokens, _sent(prompt))) as chunks:
            async for chunk in chunks:
                tokens += chunk.tokens
                arrivals.append((chunk.arrived, len(chunk.tokens)))
                for piece in answer.take(chunk):
                    if first_final is None and piece.channel == "final":
                        first_final = chunk.arrived
                    on_text(piece.channel, piece.text, piece.tokens)
                final = chunk.final or final
        if final is None:
            raise StepError("server", "the answer ended before its end")
        came = answer.finish(final)
        cut = final.stop_type == "limit" or final.truncated
        generation = Generation(
            text=came.text,
            reasoning=came.reasoning,
            calls=came.calls,
            tokens=tuple(tokens),
            finish_reason="length" if cut else "stop",
            usage=metrics.usage(
                tokens_evaluated=final.tokens_evaluated,
                tokens_predicted=final.tokens_predicted,
                server=final.timings,
                reasoning_tokens=came.reasoning_tokens,
            ),
            timings=metrics.timings(
                final.sent,
                arrivals,
                final.timings,
                finished=arrivals[-1][0],
                first_final=first_final,
                queued_s=final.queued_s,
            ),
        )
        if came.fault and not cut:
            raise UnreadableAnswer(came.fault, generation)
        return generation

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        request = sayable(continued(prompt, answer, turns))
        if prompt.mode != "harmony" or not answer.calls:
            return await self.render(request)
        tokens = gone_on(await self._harmony(), prompt, answer, turns)
        if request.on_overflow is not None and not self._fits(tokens, request):
            return await self.render(request)
        return self._rendered("harmony", tokens, request)

    async def count_tokens(self, text: str) -> int:
        return len(await self._tokenizer.piece(characters(text), special=False, first=True))

    async def truncate(self, text: str, tokens: int) -> str:
        text = characters(text)
        ids = await self._tokenizer.piece(text, special=False, first=True)
        if len(ids) <= tokens:
            return text
        if tokens <= 0:
            return ""
        spelled = await self._completions.detokenize(ids[:tokens])
        if spelled.startswith(" ") and not text.startswith(" "):
            spelled = spelled[1:]  # some vocabularies put a space before whatever they are given
        same = takewhile(lambda pair: pair[0] == pair[1], zip(text, spelled, strict=False))
        kept = text[: sum(1 for _ in same)]
        if len(spelled) - len(kept) > _MANGLED:
            return await self._bisect(text, tokens)
        while await self.count_tokens(kept) > tokens:
            kept = kept[:-1]
        return kept

    async def _bisect(self, text: str, tokens: int) -> str:
        """For a vocabulary that does not give a text back as it was: the cut by trial, in log2(length) calls."""
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            if await self.count_tokens(text[:middle]) <= tokens:
                fits = middle
            else:
                too_long = middle
        return text[:fits]

    # --- rendering -----------------------------------------------------------------------------------------

    async def mode(self, asked: Mode) -> TokenMode:
        """What `auto` is for this model. Raises `StepError` where it does not know the mode that is asked."""
        if asked in ("raw", "chat"):
            return asked
        if self._speaks_harmony is None:
            ids = await self._completions.tokenize(harmony.LANDMARKS, special=True)
            self._speaks_harmony = ids == harmony.LANDMARK_IDS
        if asked == "harmony" and not self._speaks_harmony:
            said = (
                f"{self._endpoint.model} does not know Harmony's control tokens: write `mode: chat`, `mode: auto`"
            )
            raise StepError("model", f"{said} or take a gpt-oss model", retryable=False)
        return "harmony" if self._speaks_harmony else "chat"

    async def _tokens(self, mode: TokenMode, request: PromptRequest) -> list[int]:
        match mode:
            case "raw":
                text = "".join(m.content for m in request.messages)
                return await self._tokenizer.prompt(text, special=request.special)
            case "chat":
                # In turn, so that parallel steps share what the first one learns of the template.
                async with self._learning:
                    return await self._template.prompt(request.messages)
            case "harmony":
                return (await self._harmony()).render(request)
            case _:
                assert_never(mode)

    async def _reader(self, prompt: RenderedPrompt) -> HarmonyAnswer | PlainAnswer:
        if prompt.mode != "harmony":
            return PlainAnswer()
        request = prompt.request
        tools = request.tools if request and request.tool_choice != "none" else ()
        called = sum(len(m.tool_calls) for m in request.messages) if request else 0
        return HarmonyAnswer((await self._harmony()).spell, tools, called)

    async def _harmony(self) -> harmony.Harmony:
        try:
            return await asyncio.wrap_future(harmony.preload())
        except Unavailable as error:
            raise StepError("model", str(error), retryable=False, exit_code=error.exit_code) from error

    def _room(self, prompt_tokens: int) -> int:
        """How many tokens the context leaves for the answer."""
        room = self._endpoint.context_tokens - prompt_tokens
        if room <= 0:
            raise StepError(
                "model",
                f"the prompt has {prompt_tokens} tokens, but prompt and answer together may have "
                f"{self._endpoint.context_tokens}: shorten it, raise `context` in the server's profile, or "
                "write `on_overflow: truncate_history`",
                retryable=False,
            )
        return room


def _sent(prompt: RenderedPrompt) -> Mapping[str, Json]:
    """The parameters with what the form of the answer comes to."""
    request = prompt.request
    if request is None:
        return prompt.params
    if prompt.mode == "harmony":
        form = harmony_grammar.grammar(request)
        return prompt.params if form is None else {**prompt.params, "grammar": form}
    given: dict[str, Json] = {
        "json_schema": dict(request.schema) if request.schema is not None else None,
        "grammar": request.grammar,
    }
    return {**prompt.params, **{name: value for name, value in given.items() if value is not None}}


@asynccontextmanager
async def _closed_at_once(chunks: AsyncIterator[Chunk]) -> AsyncIterator[AsyncIterator[Chunk]]:
    """An abandoned stream would keep its slot until somebody collects it."""
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
