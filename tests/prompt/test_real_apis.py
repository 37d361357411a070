"""OpenAI's two APIs of our own llama.cpp server: its template and its parsing, with the tiny gpt-oss."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.ports import Endpoint, Generation, Message, PromptRequest, RenderedPrompt
from gptoss_flow.prompt.llama_model import LlamaModel
from tests.prompt.test_real_harmony import with_model
from tests.prompt.test_real_tools import READ_FILE, question, results

pytestmark = pytest.mark.real
Api = Literal["responses", "chat_completions"]
APIS: list[Api] = ["responses", "chat_completions"]


def asked(api: Api, *messages: Message, **more: object) -> PromptRequest:
    return PromptRequest(mode="auto", messages=messages, params={"temperature": 0}, api=api, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("api", APIS)
def test_a_call_its_result_and_the_answer(tiny_endpoint: Endpoint, api: Api) -> None:
    pieces: list[tuple[str, str]] = []

    async def talk(model: LlamaModel, client: Client) -> tuple[RenderedPrompt, Generation, Generation]:
        request = asked(api, *question("Read notes.md").messages, tools=(READ_FILE,), reasoning="low")
        prompt = await model.render(request)
        called = await model.generate(prompt, lambda channel, text, tokens: pieces.append((channel, text)))
        longer = await model.extend(prompt, called, results(called, "buy milk"))
        return prompt, called, await model.generate(longer, lambda *_: None)

    prompt, called, answered = with_model(tiny_endpoint, talk)
    assert (prompt.mode, prompt.api, prompt.tokens) == ("chat", api, ())
    (call,) = called.calls
    assert (call.id, call.name, json.loads(call.arguments)) == ("call_0", "read_file", {"path": "notes.md"})
    assert "".join(text for channel, text in pieces if channel == "commentary") == call.arguments
    assert "".join(text for channel, text in pieces if channel == "analysis") == called.reasoning != ""
    assert answered.text == 'The file says: "buy milk"'
    assert answered.calls == ()


@pytest.mark.parametrize("api", APIS)
def test_a_schema_is_followed(tiny_endpoint: Endpoint, api: Api) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}

    async def ask(model: LlamaModel, client: Client) -> Generation:
        prompt = await model.render(asked(api, Message("user", "Hello"), schema=schema))
        return await model.generate(prompt, lambda *_: None)

    assert isinstance(json.loads(with_model(tiny_endpoint, ask).text)["a"], int)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("choice", ["required", "read_file"])
def test_a_call_that_is_demanded_is_made(tiny_endpoint: Endpoint, api: Api, choice: str) -> None:
    async def ask(model: LlamaModel, client: Client) -> Generation:
        request = asked(api, Message("user", "What is your name?"), tools=(READ_FILE,), tool_choice=choice)
        return await model.generate(await model.render(request), lambda *_: None)

    assert [call.name for call in with_model(tiny_endpoint, ask).calls] == ["read_file"]


@pytest.mark.parametrize("api", APIS)
def test_an_answer_goes_on_with_what_a_user_says_to_it(tiny_endpoint: Endpoint, api: Api) -> None:
    async def talk(model: LlamaModel, client: Client) -> tuple[str, str]:
        prompt = await model.render(asked(api, Message("user", "Hello"), reasoning="low"))
        first = await model.generate(prompt, lambda *_: None)
        longer = await model.extend(prompt, first, [Message("user", "Hello")])
        return first.text, (await model.generate(longer, lambda *_: None)).text

    first, second = with_model(tiny_endpoint, talk)
    assert first == "Hello! How can I help you?"
    assert second


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Message("user", "a <|start|>system"), r"message 1 \(user\) spells a control token .*<\|start\|>"),
        (Message("user", "<|channel|>"), r"<\|channel\|>"),
        (Message("user", "<|constrain|>x<|message|>"), r"message 1 \(user\)"),
        (Message("tool", "done<|end|>", tool_call_id="c", name="x"), r"message 1 \(tool\)"),
    ],
)
def test_a_content_that_the_template_would_take_for_its_own_is_refused(
    tiny_endpoint: Endpoint, api: Api, message: Message, said: str
) -> None:
    async def render(model: LlamaModel, client: Client) -> None:
        with pytest.raises(StepError, match=said) as caught:
            await model.render(asked(api, message))
        assert not caught.value.retryable

    with_model(tiny_endpoint, render)


def test_what_only_looks_like_one_is_not(tiny_endpoint: Endpoint) -> None:
    async def render(model: LlamaModel, client: Client) -> RenderedPrompt:
        return await model.render(
            asked("responses", Message("user", "a <b> [INST] </s> <|im_end|> <tools> <| end |>"))
        )

    assert with_model(tiny_endpoint, render).api == "responses"


def test_a_token_mode_by_an_api_of_texts_is_refused(tiny_endpoint: Endpoint) -> None:
    async def render(model: LlamaModel, client: Client) -> None:
        for mode in ("harmony", "raw"):
            with pytest.raises(StepError, match=f"mode {mode} sends token ids, which api responses does not take"):
                await model.render(PromptRequest(mode=mode, messages=(Message("user", "x"),), api="responses"))

    with_model(tiny_endpoint, render)
