import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.probe import free_port
from gptoss_flow.server.problems import KeyProblem
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Script
from tests.server.world import in_loop


def external(url: str, environ: dict[str, str] | None = None, **keys: Any) -> ExternalServer:
    profile = Profile.model_validate({"engine": "external", "url": url} | keys)
    return ExternalServer(profile, on_change=lambda *change: None, environ=environ or {})


@in_loop
async def test_a_server_that_fits_is_used_and_left_alone() -> None:
    async with FakeServer(Script(slots=3, context_tokens=800)) as fake:
        server = external(fake.url, parallel=3, context=800)
        endpoint = await server.ensure_ready()
        assert (endpoint.engine, endpoint.slots, endpoint.context_tokens) == ("external", 3, 800)
        assert endpoint.adopted and endpoint.pid is None
        await server.release()
        assert server.state == "stopped"
        assert (await external(fake.url).ensure_ready()).slots == 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"parallel": 4}, "parallel: it has 3 slots, not 4"),
        ({"context": 801}, "context: it has 800 tokens"),
        ({"model": {"id": "other"}}, "model.id: it has .*fake"),
    ],
)
@in_loop
async def test_a_server_that_differs_is_refused_with_the_key(keys: dict[str, Any], said: str) -> None:
    async with FakeServer(Script(slots=3, context_tokens=800, model_path="/models/fake.gguf")) as fake:
        server = external(fake.url, **keys)
        with pytest.raises(Unavailable, match=said):
            await server.ensure_ready()
        assert server.state == "crashed"
        await server.release()


@in_loop
async def test_a_key_is_taken_from_the_environment_and_a_wrong_one_is_said() -> None:
    async with FakeServer(Script(api_key="right")) as fake:
        given = {"api_key": "env:MY_KEY"}
        endpoint = await external(fake.url, {"MY_KEY": "right"}, **given).ensure_ready()
        assert endpoint.api_key == "right"
        with pytest.raises(Unavailable, match="does not accept the key"):
            await external(fake.url, {"MY_KEY": "wrong"}, **given).ensure_ready()
        with pytest.raises(Unavailable, match="MY_KEY, which is not set"):
            await external(fake.url, **given).ensure_ready()


@in_loop
async def test_nobody_there_is_said_with_the_address() -> None:
    url = f"http://127.0.0.1:{await asyncio.to_thread(free_port, '127.0.0.1')}"
    with pytest.raises(Unavailable, match=f"no server answers at {url}"):
        await external(url).ensure_ready()


def keys(error: Unavailable) -> list[tuple[str | int, ...]]:
    return [problem.path for problem in error.problems if isinstance(problem, KeyProblem)]


@in_loop
async def test_every_difference_has_its_key_and_both_values() -> None:
    script = Script(slots=3, context_tokens=800, model_path="/models/fake.gguf", build="b9000-abc")
    async with FakeServer(script) as fake:
        with pytest.raises(Unavailable) as caught:
            await external(fake.url, parallel=4, context=900, build="b11434", model={"id": "other"}).ensure_ready()
        assert keys(caught.value) == [("model", "id"), ("parallel",), ("context",), ("build",)]
        said = str(caught.value)
        for both in (
            "it has /models/fake.gguf, not other",
            "3 slots, not 4",
            "800 tokens",
            "is b9000-abc, not b11434",
        ):
            assert both in said
        assert (await external(fake.url, build="b9000").ensure_ready()).build == "b9000-abc"


@in_loop
async def test_it_is_looked_at_each_time_that_it_is_asked_for() -> None:
    async with FakeServer(Script(slots=3, context_tokens=800)) as fake:
        server = external(fake.url, context=800)
        first = await server.ensure_ready()
        assert await server.ensure_ready() is first
        fake.script = replace(fake.script, context_tokens=400)
        with pytest.raises(Unavailable, match="context: it has 400 tokens for a request, not 800"):
            await server.ensure_ready()
        assert server.state == "crashed"
        fake.script = replace(fake.script, context_tokens=800)
        assert (await server.ensure_ready()).context_tokens == 800 and server.state == "ready"


@in_loop
async def test_another_model_at_the_same_address_is_refused_though_the_profile_names_none() -> None:
    async with FakeServer(Script(model_path="/models/one.gguf")) as fake:
        server = external(fake.url)
        await server.ensure_ready()
        fake.script = replace(fake.script, model_path="/models/two.gguf")
        with pytest.raises(Unavailable, match=r"has /models/two\.gguf now, and had /models/one\.gguf") as caught:
            await server.ensure_ready()
        assert keys(caught.value) == [("model", "id")]


@in_loop
async def test_what_the_profile_does_not_ask_for_may_change() -> None:
    changes: list[str] = []
    async with FakeServer(Script(slots=3)) as fake:
        profile = Profile.model_validate({"engine": "external", "url": fake.url})
        server = ExternalServer(profile, on_change=lambda *change: changes.append(change[0]), environ={})
        await server.ensure_ready()
        fake.script = replace(fake.script, slots=5)
        assert (await server.ensure_ready()).slots == 5
        assert changes == ["starting", "ready", "stopped", "ready"]


@in_loop
async def test_many_who_ask_at_once_share_one_look() -> None:
    async with FakeServer(Script()) as fake:
        server = external(fake.url)
        found = await asyncio.gather(*(server.ensure_ready() for _ in range(9)))
        assert all(each is found[0] for each in found)
        assert sum(request.path == "/props" for request in fake.requests) <= 2


@in_loop
async def test_one_that_was_found_and_does_not_answer_now_is_left_to_the_request() -> None:
    async with FakeServer(Script()) as fake:
        server = external(fake.url)
        first = await server.ensure_ready()
    assert await server.ensure_ready() is first


@in_loop
async def test_what_a_server_says_of_itself_is_harmless() -> None:
    async with FakeServer(Script(model_path="/m/\x1b]0;pwn\x07.gguf")) as fake:
        with pytest.raises(Unavailable) as caught:
            await external(fake.url, model={"id": "other"}).ensure_ready()
        assert "\x1b" not in str(caught.value) and r"\x1b]0;pwn\x07" in str(caught.value)


@in_loop
async def test_a_server_that_never_answered_is_not_said_to_run_on() -> None:
    said: list[tuple[str, str]] = []
    profile = Profile(engine="external", url="http://127.0.0.1:9")
    server = ExternalServer(profile, on_change=lambda state, detail, facts: said.append((state, detail)))
    with pytest.raises(Unavailable):
        await server.ensure_ready()
    await server.release()
    assert said[-1] == ("stopped", "")


@in_loop
async def test_a_key_that_the_profile_does_not_say_is_told_at_the_url() -> None:
    async with FakeServer(Script(api_key="right")) as fake:
        with pytest.raises(Unavailable, match="does not accept the key; set api_key") as caught:
            await external(fake.url).ensure_ready()
        assert keys(caught.value) == [("url",)]
