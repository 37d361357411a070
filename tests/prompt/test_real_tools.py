"""Harmony's tool loop end to end on a real server: prompt, call, result, answer; and the KV cache holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gptoss_flow.llama.client import Client
from gptoss_flow.ports import Endpoint, Generation, Message, PromptRequest, RenderedPrompt, ToolSpec
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.llama_model import LlamaModel
from tests.prompt.test_real_harmony import with_model

pytestmark = pytest.mark.real

READ_FILE = ToolSpec(
    name="read_file",
    description="Read a file.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)


def question(text: str, *tools: ToolSpec, **more: Any) -> PromptRequest:
    return PromptRequest(
        mode="harmony",
        messages=(Message("user", text),),
        params={"temperature": 0},
        reasoning="low",
        date="2026-01-31",
        tools=tools,
        **more,
    )


def results(answer: Generation, *texts: str) -> list[Message]:
    calls = zip(answer.calls, texts, strict=True)
    return [Message("tool", text, tool_call_id=call.id, name=call.name) for call, text in calls]


def test_a_call_its_result_and_the_answer(tiny_endpoint: Endpoint) -> None:
    async def talk(model: LlamaModel, client: Client) -> tuple[Generation, RenderedPrompt, Generation]:
        prompt = await model.render(question("Read notes.md", READ_FILE))
        called = await model.generate(prompt, lambda *_: None)
        longer = await model.extend(prompt, called, results(called, "buy milk"))
        return called, longer, await model.generate(longer, lambda *_: None)

    called, longer, answered = with_model(tiny_endpoint, talk)
    (call,) = called.calls
    assert (call.name, call.arguments, call.id) == ("read_file", '{"path":"notes.md"}', "call_0")
    assert called.finish_reason == "stop"
    assert answered.text == 'The file says: "buy milk"'
    assert answered.calls == ()
    assert [m.role for m in longer.messages] == ["user", "assistant", "tool"]


def test_the_servers_cache_holds_to_the_end_of_the_call(tiny_endpoint: Endpoint) -> None:
    async def talk(model: LlamaModel, client: Client) -> Sequence[int]:
        prompt = await model.render(question("Read notes.md", READ_FILE))
        called = await model.generate(prompt, lambda *_: None)
        longer = await model.extend(prompt, called, results(called, "buy milk"))
        assert longer.tokens[: len(prompt.tokens) + len(called.tokens)] == (*prompt.tokens, *called.tokens)
        answered = await model.generate(longer, lambda *_: None)
        return len(prompt.tokens) + len(called.tokens), answered.usage["cached_tokens"], len(longer.tokens)

    known, cached, whole = with_model(tiny_endpoint, talk)
    assert known - 2 <= cached < whole  # all but the last id or two, which were never evaluated


def test_the_conversation_is_the_one_that_would_be_rendered_anew(
    tiny_endpoint: Endpoint, harmony: Harmony
) -> None:
    async def talk(model: LlamaModel, client: Client) -> tuple[RenderedPrompt, RenderedPrompt]:
        prompt = await model.render(question("Read notes.md", READ_FILE))
        called = await model.generate(prompt, lambda *_: None)
        longer = await model.extend(prompt, called, results(called, "buy milk"))
        assert longer.request is not None
        return longer, await model.render(longer.request)

    longer, anew = with_model(tiny_endpoint, talk)
    said, said_anew = harmony.text(longer.tokens), harmony.text(anew.tokens)
    theirs = "<|channel|>commentary to=functions.read_file <|constrain|>json"
    assert theirs in said
    assert said.replace(theirs, " to=functions.read_file<|channel|>commentary <|constrain|>json") == said_anew
