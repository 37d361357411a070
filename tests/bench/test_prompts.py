from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gptoss_flow.bench.prompts import Prepared, prepare
from gptoss_flow.errors import StepError
from gptoss_flow.events import PromptRendered
from gptoss_flow.ports import Message, PromptRequest, RenderedPrompt
from gptoss_flow.trials import BenchRequest, Recorded, Synthetic
from tests.bench.made import request, target

BEFORE, AFTER = (900, 901, 902), (903, 904)


class Templated:
    """A model that puts five tokens around a message, of which each word is one token."""

    def __init__(self, mode: str = "chat") -> None:
        self.mode: Any = mode

    async def render(self, asked: PromptRequest) -> RenderedPrompt:
        words = [word for message in asked.messages for word in message.content.split()]
        tokens = (*BEFORE, *(sum(word.encode()) for word in words), *AFTER)
        return RenderedPrompt(mode=self.mode, messages=asked.messages, tokens=tokens, params=asked.params)


def prepared(
    asked: BenchRequest, recorded: list[PromptRendered] | None = None, wanted: int = 20, mode: str = "chat"
) -> list[Prepared]:
    async def run() -> list[Prepared]:
        return await prepare(asked, target("http://127.0.0.1:1", model=Templated(mode)), recorded or [], wanted)

    return asyncio.run(run())


def made_up(tokens: int, **more: Any) -> list[Prepared]:
    return prepared(request(prompts=Synthetic(tokens, 8), mode="chat", **more))


def test_made_up_prompts_have_exactly_so_many_tokens_and_no_two_begin_alike() -> None:
    prompts = made_up(64)
    assert len(prompts) == 20
    for prompt in prompts:
        assert len(prompt.tokens) == 64
        assert (prompt.tokens[:3], prompt.tokens[-2:]) == (BEFORE, AFTER)
    beginnings = {prompt.tokens[3:9] for prompt in prompts}
    assert len(beginnings) == 20


def test_the_seed_decides_what_is_made_up() -> None:
    assert made_up(20, seed=1) == made_up(20, seed=1)
    assert made_up(20, seed=1) != made_up(20, seed=2)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (5, "input_tokens: what mode chat puts around a message has 5 tokens already"),
        (4090, "prompt and answer have 4098 tokens, and a request may use 4096"),
    ],
)
def test_what_cannot_be_made_up_is_refused(tokens: int, said: str) -> None:
    with pytest.raises(StepError, match=said):
        made_up(tokens)


def test_a_million_tokens_are_not_made_five_hundred_times() -> None:
    def long(context: int) -> list[Prepared]:
        async def run() -> list[Prepared]:
            asked = request(prompts=Synthetic(500_000, 8))
            at = target("http://127.0.0.1:1", model=Templated())
            object.__setattr__(at.endpoint, "context_tokens", context)
            return await prepare(asked, at, [], 500)

        return asyncio.run(run())

    assert len(long(1_000_000)) == 4


def recorded(**more: Any) -> PromptRendered:
    known: dict[str, Any] = {
        "step": "a", "attempt": 1, "server": "main", "mode": "harmony", "tokens": [5, 6, 7],
        "messages": [{"role": "user", "content": "one two"}], "params": {"max_tokens": 9, "seed": 3},
    }  # fmt: skip
    return PromptRendered(**(known | more))


def test_recorded_prompts_keep_their_ids_between_models_that_speak_harmony() -> None:
    asked = request(prompts=Recorded("latest"), mode="auto", params={"max_tokens": 4})
    assert prepared(asked, [recorded()], mode="harmony") == [
        Prepared("harmony", (5, 6, 7), {"max_tokens": 4, "seed": 3})
    ]
    [prompt] = prepared(asked, [recorded()], mode="chat")
    assert (prompt.mode, len(prompt.tokens)) == ("chat", 7)


def test_texts_and_conversations_are_rendered_as_they_are() -> None:
    both = (Message("system", "Be brief."), Message("user", "Why?"))
    [one, other] = prepared(request(prompts=((Message("user", "a b"),), both), mode="chat"))
    assert (len(one.tokens), len(other.tokens)) == (7, 8)
