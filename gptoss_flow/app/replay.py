"""Models and tools that answer from a record: a run is repeated without a server and held against it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, cast

from gptoss_flow.errors import Mismatch, Problem
from gptoss_flow.events import Json, Outcome, PromptRendered
from gptoss_flow.fields import json_text
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.ports import (
    Generation,
    Message,
    Model,
    Models,
    OnText,
    PromptRequest,
    RenderedPrompt,
    ToolCall,
    UnreadableAnswer,
    continued,
)
from gptoss_flow.prompt import harmony
from gptoss_flow.prompt.characters import sayable
from gptoss_flow.prompt.harmony_extend import gone_on
from gptoss_flow.record.differences import first_token_apart, messages_apart
from gptoss_flow.record.tape import Asked, Tape, failure_of
from gptoss_flow.run.known import Key, Reused
from gptoss_flow.steps.told import asks_told, told, tools_told

SLOTS = 64
"""Prompts answered at once: nothing has to wait for a record."""

Clean = Callable[[Json], Json]
"""Takes secrets out of a value, as they were taken out of the record."""
Defaults = Callable[[str], Sequence[Mapping[str, Json]]]
"""A server's name to the sampling parameters of its profile, or of each that it can be where it has a choice."""


@dataclass
class Apart:
    """What is not as it was, with its place in the flow. The first is what the replay ends with."""

    plan: Plan
    first: Mismatch | None = None

    def at(self, step: str, said: str, where: str = "") -> Mismatch:
        """`where` in the step's unit, such as an attempt."""
        name = f"step {step}, {where}" if where else f"step {step}"
        found = Mismatch(Problem(self.plan.unit_mark(step), f"{name}: {said}"))
        self.first = self.first or found
        return found


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What is replayed, and how strictly. With `live`, what the tape does not have is asked of real servers."""

    tape: Tape
    apart: Apart
    clean: Clean
    defaults: Defaults
    live: Models | None = None


class ReplayedModels:
    """`ports.Models` over a tape. Raises `Mismatch`, which ends the run."""

    def __init__(self, replayed: Replayed) -> None:
        self._replayed = replayed
        self._live = replayed.live

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        return await self._live.prepare(servers) if self._live else dict.fromkeys(servers, SLOTS)

    def identity(self, server: str) -> Mapping[str, str]:
        return self._live.identity(server) if self._live else {}

    async def get(self, server: str) -> Model:
        return _ReplayedModel(self._replayed, server)

    async def release(self, server: str) -> None:
        if self._live:
            await self._live.release(server)

    async def close(self) -> None:
        if self._live:
            await self._live.close()


class _ReplayedModel:
    """One server's model, for one request: `render` takes the next of its step from the tape."""

    def __init__(self, replayed: Replayed, server: str) -> None:
        self._tape = replayed.tape
        self._replayed = replayed
        self._server = server
        self._playing: Asked | None = None

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        request = sayable(request)
        return await self._next(
            request, lambda loaded: loaded.render(request), lambda model: model.render(request)
        )

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        request = sayable(continued(prompt, answer, turns))

        def tokens(loaded: harmony.Harmony) -> Sequence[int]:
            if not answer.calls:
                return loaded.render(request)
            return gone_on(loaded, prompt, answer, turns) if prompt.tokens and answer.tokens else ()

        return await self._next(request, tokens, lambda model: model.extend(prompt, answer, turns))

    async def _next(
        self,
        request: PromptRequest,
        tokens: Callable[[harmony.Harmony], Sequence[int]],
        live: Callable[[Model], Awaitable[RenderedPrompt]],
    ) -> RenderedPrompt:
        """The next request of the step, held against the tape's: in Harmony mode, its very tokens."""
        self._playing = None
        waiting = self._tape.asked.get(request.step)
        if waiting:
            differs = await self._difference(request, waiting[0], tokens)
        else:
            differs = "the record has no further request of it"
        if not waiting or differs:
            # Its further answers belong to another conversation.
            self._tape.asked.pop(request.step, None)
            return await live(await self._ask_live(request.step, differs))
        self._playing = waiting.popleft()
        prompt = self._playing.prompt
        return RenderedPrompt(
            mode=prompt.mode,
            messages=request.messages,
            tokens=tuple(prompt.tokens),
            params=prompt.params,
            step=request.step,
            request=request,
        )

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        asked = self._playing
        if asked is None:
            return await (await self._ask_live(prompt.step, "")).generate(prompt, on_text)
        answer, error = asked.answer, asked.error
        if answer is None:
            if error is None:
                model = await self._ask_live(prompt.step, "the record has no answer to this request")
                return await model.generate(prompt, on_text)
            raise failure_of(asked)
        generation = Generation(
            text=answer.text,
            tokens=tuple(answer.tokens),
            finish_reason=cast("Literal['stop', 'length']", answer.finish_reason),
            usage=answer.usage,
            timings=answer.timings,
            reasoning=answer.reasoning,
            calls=tuple(_call(call) for call in answer.calls),
        )
        if error is not None and error.get("kind") == "model" and not generation.calls:
            unreadable = UnreadableAnswer(str(error.get("message", "")), generation)
            unreadable.retryable = asked.retried
            raise unreadable
        on_text("final", answer.text, len(answer.tokens))
        return generation

    async def count_tokens(self, text: str) -> int:
        return await (await self._ask_live("", "tokens have to be counted, which takes a server")).count_tokens(
            text
        )

    async def truncate(self, text: str, tokens: int) -> str:
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        chars = self._tape.cuts.get((self._server, digest, tokens))
        if chars is not None:
            return text[:chars]
        said = f"a text that is to be cut to {tokens} tokens is not one that was cut then"
        return await (await self._ask_live("", said)).truncate(text, tokens)

    async def _ask_live(self, step: str, why: str) -> Model:
        if self._replayed.live is None:
            raise self._replayed.apart.at(step, why) if step else Mismatch(f"server {self._server}: {why}")
        return await self._replayed.live.get(self._server)

    async def _difference(
        self, request: PromptRequest, asked: Asked, tokens: Callable[[harmony.Harmony], Sequence[int]]
    ) -> str:
        """What of a request is not as it was recorded; empty where all is."""
        prompt, clean = asked.prompt, self._replayed.clean
        if request.mode not in ("auto", prompt.mode):
            return f"its mode is {request.mode}, and was {prompt.mode}"
        if said := messages_apart(clean([told(message) for message in request.messages]), prompt.messages):
            return said
        if said := _tools_apart(clean(tools_told(request)), prompt.tools):
            return said
        if said := _values_apart(clean(asks_told(request)), prompt.asks):
            return said
        apart = [_params_apart(default, request, prompt) for default in self._replayed.defaults(self._server)]
        if all(apart):
            return apart[0]
        if prompt.mode == "harmony" and prompt.tokens:
            loaded = await asyncio.wrap_future(harmony.preload())
            now = tokens(loaded)
            return first_token_apart(now, prompt.tokens) if now else ""
        return ""


def _call(told: Mapping[str, Json]) -> ToolCall:
    return ToolCall(id=str(told["id"]), name=str(told["name"]), arguments=str(told["arguments"]))


def _tools_apart(now: Sequence[Mapping[str, Json]], then: Sequence[Mapping[str, Json]]) -> str:
    """What of the tools is not what the model was told of then; empty where all is."""
    names, before = ([str(tool.get("name")) for tool in tools] for tools in (now, then))
    if names != before:
        return f"its tools are {', '.join(names) or 'none'}, and were {', '.join(before) or 'none'}"
    for tool, was in zip(now, then, strict=True):
        for key in ("description", "parameters"):
            if tool.get(key) != was.get(key):
                return f"the {key} of tool {tool.get('name')} changed"
    return ""


def _values_apart(now: Mapping[str, Json], then: Mapping[str, Json]) -> str:
    for name in sorted(now.keys() | then.keys()):
        if now.get(name) != then.get(name):
            return f"{name} is {json_text(now.get(name))}, and was {json_text(then.get(name))}"
    return ""


def _params_apart(default: Mapping[str, Json], request: PromptRequest, prompt: PromptRendered) -> str:
    """What of a request's parameters is not as it was; empty where all are."""
    params = {**default, **request.params}
    before = {k: v for k, v in prompt.params.items() if k in params or k != "max_tokens"}
    now = {**params, "reasoning": request.reasoning, "special": request.special}
    then = {**before, "reasoning": prompt.reasoning, "special": prompt.special}
    return _values_apart(now, then)


class Taken:
    """`run.known.Known`: results of which a record does not say how they came about are taken as they are."""

    def __init__(self, tape: Tape, run_id: str) -> None:
        self._taken = tape.taken
        self._run_id = run_id

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        waiting = self._taken.get(unit_id)
        outcome = waiting.popleft() if waiting else None
        return Reused(outcome, self._run_id) if outcome is not None else None

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        pass
