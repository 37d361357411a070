"""A server that is no llama.cpp server, by OpenAI's APIs: what `query`, `infer` and `run` make of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.cli.stand import Stand

Serve = Callable[..., FakeServer]
APIS = ["chat_completions", "responses"]
QUERY, CHECK = ["query", "--profile", "other", "Hi"], ["profile", "check", "other"]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with these facts of `Script` in a thread: the commands are processes, and must not wait."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    servers: list[FakeServer] = []

    def begin(**facts: Any) -> FakeServer:
        facts = {"only_openai": True, "models": ["qwen3:4b"], "replies": [Reply(text="Hello, you.")]} | facts
        server = FakeServer(Script(**facts))
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        servers.append(server)
        return server

    yield begin
    for server in servers:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


def profile(stand: Stand, server: FakeServer, api: str, more: str = "") -> str:
    stand.write("profiles/other.yaml", f"url: {server.url}/v1\napi: {api}\n{more}")
    return "other"


@pytest.mark.parametrize("api", APIS)
def test_infer_prints_the_answer_with_its_thoughts_and_numbers(stand: Stand, serve: Serve, api: str) -> None:
    server = serve(replies=[Reply(text="Hello, you.", reasoning="Hm.")])
    name = profile(stand, server, api)
    done = stand.run("infer", "--profile", name, "--json", "--reasoning", "low", "Hi")
    assert done.code == 0, done.err
    said = done.json
    assert (said["text"], said["reasoning"], said["finish_reason"]) == ("Hello, you.", "Hm.", "stop")
    assert said["usage"] == {
        "prompt_tokens": 39, "cached_tokens": 0, "completion_tokens": 11, "reasoning_tokens": 0
    } or said["usage"]["completion_tokens"] == 11  # fmt: skip
    assert {"ttft_s", "ttfo_s", "latency_s", "tpot_s"} <= said["timings"].keys()
    (asked,) = server.completions()
    assert asked.body["model"] == "qwen3:4b"
    assert asked.body.get("reasoning_effort") == "low" or asked.body["reasoning"] == {"effort": "low"}


@pytest.mark.parametrize("api", APIS)
def test_query_asks_it_too(stand: Stand, serve: Serve, api: str) -> None:
    server = serve()
    done = stand.run("query", "--profile", profile(stand, server, api), "Hi")
    assert (done.code, done.out) == (0, "Hello, y\n"), done.err  # eight tokens of a byte each
    (asked,) = server.completions()
    assert asked.path == ("/v1/completions" if api == "chat_completions" else "/v1/responses")
    told = stand.run("query", "--profile", "other", "--json", "Hi").json
    assert told["finish_reason"] == "length" and told["usage"]["completion_tokens"] == 8


FLOW = """\
version: 1
servers:
  main: {extends: other, parallel: 2}
steps:
  a:
    prompt: {system: Be brief., user: Hi, params: {temperature: 0, max_tokens: 20}}
  b:
    prompt: {user: "More than ${{ steps.a.output }}?"}
outputs: {text: "${{ steps.b.output }}", why: "${{ steps.b.finish_reason }}"}
"""


@pytest.mark.parametrize("api", APIS)
def test_a_flow_runs_on_it_and_is_on_record(stand: Stand, serve: Serve, api: str) -> None:
    server = serve()
    profile(stand, server, api)
    stand.write("flow.yaml", FLOW)
    done = stand.run("run", "flow.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["outputs"] == {"text": "Hello, you.", "why": "stop"}
    rendered = [event for event in stand.events() if event["type"] == "prompt_rendered"]
    assert [each["mode"] for each in rendered] == ["chat", "chat"]
    assert "More than Hello, you.?" in json.dumps(server.completions()[1].body)


@pytest.mark.parametrize(
    ("api", "step", "line", "said"),
    [
        ("responses", "{mode: raw, text: Hi}", 6, "api responses has no raw mode; write mode: chat, or set api"),
        (
            "chat_completions",
            "{mode: raw, special: allow, text: Hi}",
            6,
            "special: allow needs the model's tokens",
        ),
        ("chat_completions", "{mode: harmony, user: Hi}", 6, "mode harmony makes the model's tokens"),
        ("chat_completions", "{user: Hi, params: {top_k: 4}}", 6, "api chat_completions cannot say params.top_k"),
        (
            "responses",
            "{user: Hi, params: {stop: [a]}}",
            6,
            "api responses cannot say params.stop; it has max_tokens",
        ),
        (
            "responses",
            "{user: \"${{ 'a' | truncate_tokens(3) }}\"}",
            6,
            "truncate_tokens needs the model's tokens",
        ),
    ],
)
def test_what_it_cannot_do_is_told_before_anything_starts(
    stand: Stand, serve: Serve, api: str, step: str, line: int, said: str
) -> None:
    server = serve()
    profile(stand, server, api)
    stand.write("flow.yaml", f"version: 1\nservers:\n  main: other\nsteps:\n  a:\n    prompt: {step}\n")
    done = stand.run("run", "flow.yaml")
    assert done.code == 2 and said in done.err and f"flow.yaml:{line}:" in done.err
    assert server.requests == []


def test_a_default_of_the_profile_is_told_at_its_place(stand: Stand, serve: Serve) -> None:
    profile(stand, serve(), "responses", "request: {seed: 3}\n")
    done = stand.run("infer", "--profile", "other", "Hi")
    assert done.code == 2 and "profiles/other.yaml:3:" in done.err and "cannot say request.seed" in done.err


@pytest.mark.parametrize(
    ("more", "facts", "said", "place", "command"),
    [
        ("model: {id: llama}\n", {}, "model.id: the server at http", "other.yaml:3:13", ["run", "flow.yaml"]),
        (
            "",
            {"models": ["a", "b\x1b[31m"]},
            r"offers 2 models: a, b\x1b[31m; say which with model.id",
            "other.yaml:1",
            CHECK,
        ),
        ("", {"answers": {"/v1/models": Reply(status=404)}}, "does not speak OpenAI's API", "other.yaml:1", CHECK),
        ("api_key: env:LANG\n", {"api_key": "k"}, "does not accept the key", "other.yaml:3", QUERY),
    ],
)
def test_who_it_is_not_is_told_with_the_key(
    stand: Stand, serve: Serve, more: str, facts: dict[str, Any], said: str, place: str, command: list[str]
) -> None:
    profile(stand, serve(**facts), "chat_completions", more)
    stand.environ["LANG"] = "C.UTF-8"
    stand.write("flow.yaml", FLOW)
    done = stand.run(*command)
    assert done.code == 3, (command, done.out, done.err)
    assert said in done.out + done.err and place in done.out + done.err


def test_a_name_of_ollama_needs_no_tag(stand: Stand, serve: Serve) -> None:
    server = serve(models=["llama3:latest", "other"])
    assert (
        stand.run("infer", "--profile", profile(stand, server, APIS[0], "model: {id: llama3}\n"), "Hi").code == 0
    )
    assert server.completions()[0].body["model"] == "llama3:latest"


def test_an_address_alone_names_the_way(stand: Stand, serve: Serve) -> None:
    done = stand.run("infer", "--url", serve().url, "Hi")
    assert done.code == 3 and "needs api: chat_completions or responses in its profile" in done.err
