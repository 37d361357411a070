"""Harmony's tool loop end to end on a real server: prompt, call, result, answer; and the KV cache holds."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.ports import Endpoint, Generation, Message, Mode, PromptRequest, RenderedPrompt, ToolSpec
from gptoss_flow.prompt.harmony import Harmony
from gptoss_flow.prompt.llama_model import LlamaModel
from gptoss_flow.vocabulary import FIRST_CONTROL
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


# --- the form of an answer -------------------------------------------------------------------------------------

NODE = {"type": "object", "properties": {"v": {"const": 1}}, "required": ["v"]}
FORMS = [
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a"]},
    {"type": "array", "items": {"type": "string", "maxLength": 5}, "minItems": 2, "maxItems": 3},
    {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    {"anyOf": [{"const": 'say "é"'}, {"type": "null"}]},
]


@pytest.mark.parametrize("schema", FORMS)
@pytest.mark.parametrize("mode", ["harmony", "chat", "raw"])
def test_the_answer_follows_the_schema(tiny_endpoint: Endpoint, schema: dict[str, Any], mode: Mode) -> None:
    async def ask(model: LlamaModel, client: Client) -> Generation:
        request = replace(question("Hello", schema=schema), mode=mode)
        return await model.generate(await model.render(request), lambda *_: None)

    answer = with_model(tiny_endpoint, ask)
    if mode == "harmony":
        assert answer.reasoning
    if answer.finish_reason == "stop":
        jsonschema.validate(json.loads(answer.text), schema)


@pytest.mark.parametrize("mode", ["harmony", "chat", "raw"])
def test_the_answer_follows_the_grammar(tiny_endpoint: Endpoint, mode: Mode) -> None:
    async def ask(model: LlamaModel, client: Client) -> Generation:
        request = replace(question("Hello", grammar='root ::= word "!"\nword ::= [a-z]{3}\n'), mode=mode)
        return await model.generate(await model.render(request), lambda *_: None)

    assert re.fullmatch("[a-z]{3}!", with_model(tiny_endpoint, ask).text)


@pytest.mark.parametrize("choice", ["required", "read_file"])
def test_a_call_that_is_demanded_is_made(tiny_endpoint: Endpoint, choice: str) -> None:
    async def ask(model: LlamaModel, client: Client) -> Generation:
        request = question("Hello", READ_FILE, tool_choice=choice)
        return await model.generate(await model.render(request), lambda *_: None)

    (call,) = with_model(tiny_endpoint, ask).calls
    assert call.name == "read_file"
    assert isinstance(json.loads(call.arguments)["path"], str)


# --- what does not fit -------------------------------------------------------------------------------------------


HELLO = Generation(text="Hello!", tokens=(), finish_reason="stop", usage={}, timings={})


def long_talk(turns: int, **more: Any) -> PromptRequest:
    said = [Message("system", "Be kind.")]
    for i in range(turns):
        said += [Message("user", f"Question {i}: " + "word " * 100), Message("assistant", f"Answer {i}.")]
    return PromptRequest(mode="harmony", messages=(*said, Message("user", "Hello")), reasoning="low", **more)


def test_the_oldest_turns_make_room_where_the_author_says_so(tiny_endpoint: Endpoint, harmony: Harmony) -> None:
    async def talk(model: LlamaModel, client: Client) -> tuple[RenderedPrompt, RenderedPrompt]:
        with pytest.raises(StepError, match=r"the prompt has \d+ tokens, .* together may have 4096") as caught:
            await model.render(long_talk(60))
        assert not caught.value.retryable
        prompt = await model.render(long_talk(60, on_overflow="truncate_history"))
        return prompt, await model.extend(prompt, HELLO, [Message("user", "And now?")])

    prompt, longer = with_model(tiny_endpoint, talk)
    said = harmony.text(prompt.tokens)
    assert "Be kind." in said and "Question 59" in said and said.endswith("Hello<|end|><|start|>assistant")
    assert "Question 0" not in said
    assert 4096 - 512 - 150 < len(prompt.tokens) <= 4096 - 512
    (warning,) = prompt.warnings
    told = re.fullmatch(r"the conversation does not fit into 4096 tokens: its oldest (\d+) messages .*", warning)
    assert told and len(prompt.messages) == 122 - int(told[1])
    assert prompt.messages[0].content == "Be kind."
    assert "And now?" in harmony.text(longer.tokens) and len(longer.tokens) <= 4096 - 512


def test_what_cannot_be_left_out_is_refused_all_the_same(tiny_endpoint: Endpoint) -> None:
    async def render(model: LlamaModel, client: Client) -> None:
        request = question("word " * 5000, on_overflow="truncate_history")
        with pytest.raises(StepError, match=r"the prompt has 50\d\d tokens"):
            await model.render(request)
        with pytest.raises(StepError, match="raw mode has no tools"):
            await model.render(question("word " * 5000, READ_FILE, on_overflow="raw"))

    with_model(tiny_endpoint, render)


def test_raw_mode_takes_over_where_the_author_says_so(tiny_endpoint: Endpoint, harmony: Harmony) -> None:
    small = replace(tiny_endpoint, context_tokens=80)

    async def render(model: LlamaModel, client: Client) -> RenderedPrompt:
        return await model.render(question("Hello <|end|>", on_overflow="raw"))

    prompt = with_model(small, render)
    assert (prompt.mode, harmony.text(prompt.tokens)) == ("raw", "Hello <|end|>")
    assert max(prompt.tokens) < FIRST_CONTROL
    assert re.fullmatch(r"the prompt of \d+ tokens leaves no room in 80: sent in raw mode .*", prompt.warnings[0])
