"""OpenAI's APIs: what is asked, and how streams of several programs are read."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.events import Channel
from gptoss_flow.llama.openai import NAMES, Api, question
from gptoss_flow.llama.openai_answer import AnswerReader
from gptoss_flow.llama.openai_client import OpenAiClient
from gptoss_flow.llama.request import ALLOWED
from gptoss_flow.ports import Message, Question, Said
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.llama.conftest import JumpingClock, endpoint

pytestmark = pytest.mark.anyio
HI = [{"role": "user", "content": "Hi"}]


# --- what is asked ----------------------------------------------------------------------------------------


def test_the_body_of_each_api() -> None:
    params = {"temperature": 0, "max_tokens": 9, "stop": ["x"], "seed": None}
    assert question("chat_completions", "m", HI, params, "low") == (
        "/v1/chat/completions",
        {
            "model": "m", "stream": True, "max_tokens": 9, "temperature": 0, "stop": ["x"],
            "stream_options": {"include_usage": True}, "reasoning_effort": "low", "messages": HI,
        },
    )  # fmt: skip
    assert question("chat_completions", "m", "Hi", {})[0] == "/v1/completions"
    assert question("responses", "m", HI, {"max_tokens": 9}, "high") == (
        "/v1/responses",
        {
            "model": "m", "stream": True, "max_output_tokens": 9, "reasoning": {"effort": "high"}, "input": HI,
            "store": False,
        },
    )  # fmt: skip


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_what_an_api_cannot_say_is_refused_and_never_sent_in_another_name(api: Api) -> None:
    for name in ALLOWED.keys() - NAMES[api].keys():
        with pytest.raises(StepError, match=f"api {api} cannot say {name}; it has .*max_tokens") as caught:
            question(api, "m", HI, {name: 1})
        assert not caught.value.retryable
    with pytest.raises(StepError, match="temperature cannot be 7"):
        question(api, "m", HI, {"temperature": 7})
    assert set(NAMES[api]) <= set(ALLOWED)


def test_responses_have_no_raw_mode() -> None:
    with pytest.raises(StepError, match="api responses has no raw mode; write `mode: chat`"):
        question("responses", "m", "Hi", {})


# --- what is read -----------------------------------------------------------------------------------------


def read(api: Api, *events: Any, max_tokens: int = 100) -> tuple[AnswerReader, list[tuple[Channel, str]]]:
    reader = AnswerReader(api, max_tokens)
    said = [
        piece for event in events for piece in reader.take(event if isinstance(event, str) else json.dumps(event))
    ]
    return reader, said


def chat(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_chat_with_thoughts_and_usage(name: str) -> None:
    usage = {
        "prompt_tokens": 30, "completion_tokens": 12, "prompt_tokens_details": {"cached_tokens": 24},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }  # fmt: skip
    reader, said = read(
        "chat_completions",
        chat({"role": "assistant", "content": None}),
        chat({name: "Hm."}),
        chat({"content": "Yes", name: None}),
        chat({"content": ""}, "stop"),
        {"choices": [], "usage": usage, "timings": {"prompt_ms": 5.0, "x": "y"}},
        "[DONE]",
    )
    assert said == [("analysis", "Hm."), ("final", "Yes")]
    assert reader.is_whole and reader.finish_reason == "stop" and reader.timings == {"prompt_ms": 5.0}
    assert reader.usage == {
        "prompt_tokens": 30, "cached_tokens": 24, "completion_tokens": 12, "reasoning_tokens": 5
    }  # fmt: skip


def test_responses_with_thoughts_and_usage() -> None:
    usage = {"input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}
    reader, said = read(
        "responses",
        {"type": "response.created", "response": {}},
        {"type": "response.reasoning_text.delta", "delta": "Hm."},
        {"type": "response.output_text.delta", "delta": "Yes"},
        {"type": "response.completed", "response": {"usage": usage, "output": []}},
    )
    assert said == [("analysis", "Hm."), ("final", "Yes")] and reader.is_whole
    assert reader.usage == {
        "prompt_tokens": 3, "cached_tokens": 0, "completion_tokens": 2, "reasoning_tokens": 1
    }  # fmt: skip


def test_a_cut_answer_is_one_whatever_it_is_called() -> None:
    cut, _ = read("chat_completions", chat({"content": "a"}, "length"), "[DONE]")
    assert cut.finish_reason == "length"
    response = {"usage": {"output_tokens": 4}}
    called_completed, _ = read("responses", {"type": "response.completed", "response": response}, max_tokens=4)
    incomplete, _ = read("responses", {"type": "response.incomplete", "response": {}})
    assert called_completed.finish_reason == incomplete.finish_reason == "length"


def test_a_server_that_counts_nothing_is_counted() -> None:
    reader, _ = read("chat_completions", chat({"content": "a"}), chat({"content": "b"}, "stop"), "[DONE]")
    assert reader.usage["completion_tokens"] == 2 and reader.usage["prompt_tokens"] == 0


@pytest.mark.parametrize("reason", ["tool_calls", "function_call"])
def test_a_call_of_a_tool_is_seen(reason: str) -> None:
    assert read("chat_completions", chat({}, reason))[0].called_a_tool
    called = {"type": "response.completed", "response": {"output": [{"type": "function_call"}]}}
    assert read("responses", called)[0].called_a_tool


@pytest.mark.parametrize(
    ("api", "event", "said"),
    [
        ("chat_completions", {"error": {"message": "out of memory"}}, "out of memory"),
        ("responses", {"type": "error", "message": "boom"}, "boom"),
        ("responses", {"type": "response.failed", "response": {"error": {"message": "boom"}}}, "boom"),
        ("responses", {"type": "response.failed", "response": {}}, "does not say why"),
        ("responses", {"type": "response.completed", "response": None}, "not understood"),
        ("responses", {"type": "response.output_text.delta"}, "not understood"),
        ("chat_completions", {"choices": 7}, "not understood"),
        ("chat_completions", {"choices": [7]}, "not understood"),
        ("chat_completions", "<html>", "not understood"),
        ("chat_completions", "[1]", "not understood"),
    ],
)
def test_an_error_in_a_stream_is_a_failure(api: Api, event: Any, said: str) -> None:
    with pytest.raises(StepError, match=said):
        read(api, event)


@pytest.mark.parametrize("odd", [{}, {"choices": [{"delta": None}]}, {"usage": []}])
def test_what_is_odd_and_harmless_is_borne(odd: dict[str, Any]) -> None:
    reader, said = read("chat_completions", odd, chat({"content": "a\ud800", "tool_calls": 4}, "stop"))
    assert said == [("final", "a?")] and not reader.is_whole and reader.end_of_body()


# --- over HTTP --------------------------------------------------------------------------------------------


async def converse(server: FakeServer, api: Api, mode: Any = "chat", **params: Any) -> list[Said]:
    client = OpenAiClient(endpoint(server.url, api=api, model="fake/model"), clock=JumpingClock())
    try:
        messages = (Message("developer", "Be brief."), Message("user", "Hi"))
        asked = Question(api=api, mode=mode, messages=messages, params=params)
        return [said async for said in client.converse(asked)]
    finally:
        await client.aclose()


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
async def test_an_answer_comes_in_pieces_and_ends_with_what_it_took(api: Api) -> None:
    async with FakeServer(Script(replies=[Reply(text="Yes.", reasoning="Hm.", tokens_per_event=3)])) as server:
        said = await converse(server, api, max_tokens=50)
        assert "".join(each.text for each in said if each.channel == "final") == "Yes."
        assert "".join(each.text for each in said if each.channel == "analysis") == "Hm."
        end = said[-1].end
        assert end is not None and end.finish_reason == "stop" and end.usage["prompt_tokens"] > 20
        assert all(each.end is None for each in said[:-1])
        (request,) = server.completions()
        messages = request.body.get("messages") or request.body["input"]
        assert [each["role"] for each in messages] == ["system", "user"] and request.body["model"] == "fake/model"


async def test_raw_text_goes_on_by_the_older_api() -> None:
    async with FakeServer(Script(replies=[Reply(text=" there")])) as server:
        said = await converse(server, "chat_completions", "raw")
        assert "".join(each.text for each in said) == " there"
        assert server.completions()[0].path == "/v1/completions"
        assert server.completions()[0].body["prompt"] == "Be brief.Hi"


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize("fault", [{"no_stop": True}, {"cut_at": 400, "framing": "close"}])
async def test_a_stream_without_its_end_has_failed_and_is_not_asked_for_again(
    api: Api, fault: dict[str, Any]
) -> None:
    reply = Reply(text="many words that are to come, and more of them, and then some", **fault)
    async with FakeServer(Script(replies=[reply])) as server:
        with pytest.raises(StepError, match=r"broke|ended|closed") as caught:
            await converse(server, api)
        assert caught.value.kind == "server" and len(server.completions()) == 1


async def test_no_more_at_once_than_the_profile_says() -> None:
    async with FakeServer(Script(slots=8, replies=[Reply(ttft_s=0.05)])) as server:
        client = OpenAiClient(
            endpoint(server.url, api="chat_completions", model="m", slots=2), clock=JumpingClock()
        )

        async def one() -> None:
            async for _ in client.converse(Question(api="chat_completions", messages=(Message("user", "Hi"),))):
                pass

        await asyncio.gather(*(one() for _ in range(6)))
        await client.aclose()
        assert server.max_in_flight == 2


async def test_an_answer_that_nobody_waits_for_is_cancelled() -> None:
    async with FakeServer(Script(replies=[Reply(text="word " * 50, token_delay_s=0.02)])) as server:
        client = OpenAiClient(endpoint(server.url, api="responses", model="m"), clock=JumpingClock())
        answer = client.converse(Question(api="responses", messages=(Message("user", "Hi"),)))
        await anext(answer)
        await answer.aclose()
        await server.until(lambda s: s.in_flight == 0)
        assert server.completions()[0].abandoned
        await client.aclose()
