"""A model that is asked by one of OpenAI's APIs: messages go out as text, the answer has no token ids."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
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
    Question,
    RenderedPrompt,
    SaidEnd,
    ToolCall,
    ToolSpec,
    UnreadableAnswer,
    continued,
)
from gptoss_flow.prompt.characters import sayable
from gptoss_flow.prompt.control_check import require_plain
from gptoss_flow.prompt.raw import Tokenizer
from gptoss_flow.prompt.served import DEFAULT_MAX_TOKENS
from gptoss_flow.prompt.tool_names import ToolNames, require_choice, spoken

NO_TOKENS = "needs llama.cpp's own server (api: llama.cpp in the profile)"

TextApi = Literal["responses", "chat_completions"]


class ApiModel:
    """Implements `ports.Model`. The server's own template makes the prompt, whatever the messages hold.

    `tokenizer`, of a server that has one, tells whether they hold what the template would take for its own.
    """

    def __init__(
        self, endpoint: Endpoint, conversations: Conversations, api: TextApi, tokenizer: Tokenizer | None = None
    ) -> None:
        self._endpoint = endpoint
        self._conversations = conversations
        self._api: TextApi = api
        self._tokenizer = tokenizer

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        """Raises `StepError` ("model", not retryable) for what cannot be asked this way."""
        request = sayable(request)
        mode: Literal["raw", "chat"] = "raw" if request.mode == "raw" else "chat"
        self._refuse_misfits(request, mode)
        ToolNames(request.tools)
        require_choice(request)
        if self._tokenizer is not None:
            await require_plain(self._tokenizer, request)
        return RenderedPrompt(
            mode=mode,
            messages=request.messages,
            tokens=(),
            params={"max_tokens": DEFAULT_MAX_TOKENS, **self._endpoint.request, **request.params},
            step=request.step,
            reasoning=request.reasoning,
            request=request,
            api=self._api,
        )

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        """Raises `StepError` as `Conversations` does, and `UnreadableAnswer`."""
        texts: dict[str, list[str]] = {"analysis": [], "final": []}
        arrivals: list[metrics.Arrival] = []
        first_final: float | None = None
        end: SaidEnd | None = None
        events = self._conversations.converse(self._question(prompt))
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
        return _sound(_generation(texts, arrivals, first_final, end), end, prompt)

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self.render(continued(prompt, answer, turns))

    async def count_tokens(self, text: str) -> int:
        raise _no_tokens("the number of tokens")

    async def truncate(self, text: str, tokens: int) -> str:
        raise _no_tokens("truncate_tokens")

    def _question(self, prompt: RenderedPrompt) -> Question:
        """The prompt with its tools named as functions are."""
        assert prompt.mode != "harmony"
        request = prompt.request
        choice = request.tool_choice if request else "auto"
        return Question(
            api=self._api,
            mode=prompt.mode,
            messages=tuple(map(_spoken_calls, prompt.messages)),
            params=prompt.params,
            reasoning=prompt.reasoning,
            tools=tuple(replace(tool, name=spoken(tool.name)) for tool in _tools(prompt)),
            tool_choice=choice if choice in ("auto", "none", "required") else spoken(choice),
            schema=request.schema if request else None,
            grammar=request.grammar if request else None,
        )

    def _refuse_misfits(self, request: PromptRequest, mode: Literal["raw", "chat"]) -> None:
        if self._tokenizer is not None and (mode == "raw" or request.mode == "harmony"):
            said = f"mode {request.mode} sends token ids, which api {self._api} does not take"
            raise StepError("model", f"{said}: remove `api`, or write `mode: chat`", retryable=False)
        if request.mode == "harmony":
            _refuse("mode harmony", "write `mode: auto`, which leaves the template to the server")
        if request.special:
            _refuse("special: allow", "remove it")
        if mode == "raw" and self._api == "responses":
            _refuse("mode raw", "write `mode: chat`, or set api: chat_completions")
        if request.on_overflow is not None:
            _refuse(f"on_overflow: {request.on_overflow}", "remove it")


def _tools(prompt: RenderedPrompt) -> Sequence[ToolSpec]:
    return prompt.request.tools if prompt.request else ()


def _spoken_calls(message: Message) -> Message:
    calls = tuple(replace(call, name=spoken(call.name)) for call in message.tool_calls)
    return replace(message, tool_calls=calls) if calls else message


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


def _sound(generation: Generation, end: SaidEnd, prompt: RenderedPrompt) -> Generation:
    choice = prompt.request.tool_choice if prompt.request else "none"
    if end.called_a_tool and (not _tools(prompt) or choice == "none"):
        raise UnreadableAnswer("the model called a tool that this step does not give it", generation)
    if end.calls:
        return replace(generation, calls=_calls(end, prompt))
    if end.called_a_tool and generation.finish_reason == "stop":
        raise UnreadableAnswer("the model called a tool, and the server does not say which", generation)
    if generation.reasoning and not generation.text and generation.finish_reason == "stop":
        raise UnreadableAnswer("the model ended its turn without an answer", generation)
    return generation


def _calls(end: SaidEnd, prompt: RenderedPrompt) -> tuple[ToolCall, ...]:
    """Counted, as in Harmony: what a server calls them differs from one run to the next."""
    names = ToolNames(_tools(prompt))
    first = sum(len(message.tool_calls) for message in prompt.messages)
    return tuple(
        ToolCall(id=f"call_{i}", name=names.told(name), arguments=arguments)
        for i, (name, arguments) in enumerate(end.calls, first)
    )


def _no_tokens(what: str) -> StepError:
    return StepError("model", f"{what} {NO_TOKENS}", retryable=False)


def _refuse(what: str, hint: str) -> None:
    raise StepError("model", f"{what} {NO_TOKENS}; or {hint}", retryable=False)
