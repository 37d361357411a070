"""The prompts of a trial as token ids: those of the flow, of a run on record, or made up of random words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from gptoss_flow.bench.target import Target
from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, PromptRendered
from gptoss_flow.ports import Message, Model, PromptRequest, RenderedPrompt
from gptoss_flow.trials import BenchRequest, Recorded, Synthetic

MOST, MOST_TOKENS = 512, 2_000_000
"""So many different prompts are made up for a trial, of so many tokens together; then they come again."""
_TEXT = (
    "time year people way day man thing woman life child world school state family student group country "
    "problem hand part place case week company system program question work government number night point "
    "home water room mother area money story fact month lot right study book eye job word business issue "
    "side kind head house service friend father power hour game line end member law car city community "
    "name president team minute idea body information back parent face others level office door health "
    "person art war history party result change morning reason research girl guy moment air teacher force "
    "education"
)
WORDS = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent: ids, and parameters as they will be sent."""

    mode: str
    tokens: tuple[int, ...]
    params: Mapping[str, Json]


async def prepare(
    asked: BenchRequest, target: Target, recorded: Sequence[PromptRendered], wanted: int
) -> list[Prepared]:
    """At least one prompt; made-up ones are as many as are `wanted`, up to 512. Raises `StepError`."""
    model = target.model
    match asked.prompts:
        case Synthetic(input_tokens, output_tokens):
            room = target.endpoint.context_tokens
            if room and input_tokens + output_tokens > room:
                said = (
                    f"prompt and answer have {input_tokens + output_tokens} tokens, and a request may use {room}"
                )
                raise StepError("model", f"{said}: raise `context` in the profile", retryable=False)
            count = max(1, min(wanted, MOST, MOST_TOKENS // input_tokens))
            return await _made_up(asked, model, input_tokens, count)
        case Recorded():
            return [await _again(asked, model, prompt) for prompt in recorded]
        case prompts:
            return [_prepared(await model.render(_request(asked, messages))) for messages in prompts]


def _prepared(prompt: RenderedPrompt) -> Prepared:
    return Prepared(prompt.mode, tuple(prompt.tokens), prompt.params)


def _request(asked: BenchRequest, messages: tuple[Message, ...]) -> PromptRequest:
    if asked.mode == "raw":
        messages = (Message("user", "".join(message.content for message in messages)),)
    return PromptRequest(
        mode=asked.mode,
        messages=messages,
        params=asked.params,
        reasoning=asked.reasoning,
        date=asked.date,
        step=asked.step,
    )


async def _again(asked: BenchRequest, model: Model, prompt: PromptRendered) -> Prepared:
    """A recorded prompt. Where both models speak Harmony its very ids, which know of tools and calls; else its
    messages, as the model that is measured renders them."""
    if prompt.mode == "harmony" and prompt.tokens and asked.mode in ("auto", "harmony"):
        some = await model.render(_request(asked, (Message("user", "Hello"),)))
        if some.mode == "harmony":
            return Prepared("harmony", tuple(prompt.tokens), {**prompt.params, **asked.params})
    known = {"system", "developer", "user", "assistant"}
    messages = tuple(
        Message(message["role"], str(message.get("content", "")))
        for message in prompt.messages
        if message.get("role") in known
    )
    rendered = await model.render(
        PromptRequest(
            mode=prompt.mode if asked.mode == "auto" and prompt.mode != "harmony" else asked.mode,
            messages=messages,
            params={**prompt.params, **asked.params},
            reasoning=asked.reasoning or _level(prompt.reasoning),
            special=prompt.special,
            date=asked.date,
            step=asked.step,
        )
    )
    return _prepared(rendered)


def _level(word: str | None) -> Literal["low", "medium", "high"] | None:
    return cast("Literal['low', 'medium', 'high']", word) if word in ("low", "medium", "high") else None


async def _made_up(asked: BenchRequest, model: Model, input_tokens: int, count: int) -> list[Prepared]:
    """Random ids of ordinary words between what the mode puts around a message; no two begin alike."""
    half = len(WORDS) // 2
    one, other = [
        await model.render(_request(asked, (Message("user", " ".join(words)),)))
        for words in (WORDS[:half], WORDS[half:])
    ]
    before = _alike(one.tokens, other.tokens)
    after = _alike(one.tokens[before:][::-1], other.tokens[before:][::-1])
    around = before + after
    if input_tokens <= around:
        said = f"input_tokens: what mode {one.mode} puts around a message has {around} tokens already"
        raise StepError("model", f"{said}; ask for more than that", retryable=False)
    ids = sorted(
        {*one.tokens[before : len(one.tokens) - after], *other.tokens[before : len(other.tokens) - after]}
    )
    draw = random.Random(f"prompts {asked.seed}")
    head, tail = one.tokens[:before], one.tokens[len(one.tokens) - after :]
    return [
        Prepared(one.mode, (*head, *draw.choices(ids, k=input_tokens - around), *tail), one.params)
        for _ in range(count)
    ]


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many first tokens are the same."""
    return next(
        (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
