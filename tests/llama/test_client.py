from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.exchange import Limits
from gptoss_flow.ports import Chunk, Completions
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script, tokenize
from tests.llama.conftest import JumpingClock, Talk, endpoint

pytestmark = pytest.mark.anyio

PROMPT = tokenize("Say something.", special=False)
NEVER = 3600.0


async def ask(client: Client, params: dict[str, Any] | None = None, **options: Any) -> list[Chunk]:
    return [chunk async for chunk in client.complete(PROMPT, params or {}, **options)]


async def fails(client: Client, **options: Any) -> StepError:
    with pytest.raises(StepError) as caught:
        await ask(client, **options)
    return caught.value


def text(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


# --- what is asked and answered -------------------------------------------------------------------------------


async def test_a_completion_streams_its_tokens_and_ends_with_the_servers_figures(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(text="Hi!")])) as (client, _):
        chunks = await ask(client, {"max_tokens": 8})
    assert [c.text for c in chunks] == ["H", "i", "!", ""]
    assert [c.tokens for c in chunks] == [(72,), (105,), (33,), ()]
    assert [c.final is None for c in chunks] == [True, True, True, False]
    final = chunks[-1].final
    assert final is not None
    assert (final.stop_type, final.tokens_predicted, final.tokens_evaluated) == ("eos", 3, len(PROMPT))
    assert final.timings["prompt_n"] == len(PROMPT)
    assert 0 < final.sent <= chunks[0].arrived <= chunks[-1].arrived


async def test_every_request_is_streamed_with_ids_and_carries_no_conversation(talk: Talk) -> None:
    async with talk(Script(api_key="k"), facts={"api_key": "k"}) as (client, server):
        await ask(client, {"max_tokens": 8, "temperature": 0})
    (request,) = server.requests
    assert request.body == {
        "prompt": PROMPT,
        "n_predict": 8,
        "temperature": 0,
        "stream": True,
        "return_tokens": True,
        "cache_prompt": True,
    }
    assert set(request.headers) == {
        "host", "accept", "accept-encoding", "connection", "user-agent",
        "authorization", "content-length", "content-type",
    }  # fmt: skip
    assert request.headers["accept-encoding"] == "identity"


async def test_ids_that_the_server_leaves_out_inside_a_character_are_put_back(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(text="né 🎉!")])) as (client, _):
        chunks = await ask(client)
    assert text(chunks) == "né 🎉!"
    assert [i for c in chunks for i in c.tokens] == tokenize("né 🎉!", special=False)


async def test_ids_that_cannot_be_put_back_cost_no_text(talk: Talk) -> None:
    script = Script(replies=[Reply(text="é")], answers={"/tokenize": Reply(status=500, body="")})
    async with talk(script) as (client, _):
        chunks = await ask(client)
    assert (text(chunks), chunks[0].tokens) == ("é", (0xA9,))


async def test_the_other_endpoints_answer(talk: Talk) -> None:
    async with talk(Script(slots=3)) as (client, _):
        completions: Completions = client
        assert (await completions.props())["total_slots"] == 3
        assert await completions.tokenize("<|end|>", special=True) == [260]
        assert await completions.tokenize("<|end|>", special=False) == list(b"<|end|>")
        assert await client.detokenize([72, 260]) == "H<|end|>"
        assert (await completions.apply_template([{"role": "user", "content": "x"}])).startswith(
            "<|im_start|>user"
        )
        assert await client.models() == ["/models/fake.gguf"]
        assert await client.health()


async def test_health_is_no_while_loading_and_when_nobody_is_there(talk: Talk) -> None:
    async with talk(Script(load_s=float("inf"))) as (client, server):
        assert not await client.health()
        server.finish_loading()
        assert await client.health()
        await server.close()
        assert not await client.health()


async def test_the_context_that_ends_is_reported_as_truncated(talk: Talk) -> None:
    script = Script(replies=[Reply(text="x" * 50)], context_tokens=len(PROMPT) + 10)
    async with talk(script) as (client, _):
        final = (await ask(client))[-1].final
    assert final is not None
    assert (final.truncated, final.stop_type, final.tokens_predicted) == (True, "limit", 10)


async def test_a_connection_is_used_again(talk: Talk) -> None:
    async with talk(Script()) as (client, server):
        for _ in range(3):
            await ask(client)
        assert server.connections_seen == 1


# --- broken streams --------------------------------------------------------------------------------------------


async def recorded_response(reply: Reply) -> bytes:
    """The bytes on the wire of the second completion: from then on the cache makes all of them alike."""
    body = json.dumps({"prompt": PROMPT, "stream": True}).encode()
    async with FakeServer(Script(slots=1, replies=[reply])) as server:
        for _ in range(2):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"POST /completion HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            response = await reader.readuntil(b"0\r\n\r\n" if reply.framing == "chunked" else b"}}\n\n")
            writer.close()
    return response


@pytest.mark.parametrize(
    ("framing", "reset", "step"), [("chunked", False, 1), ("close", False, 1), ("chunked", True, 7)]
)
async def test_no_cut_anywhere_gives_a_false_success(talk: Talk, framing: Any, reset: bool, step: int) -> None:
    whole = Reply(text="é", framing=framing)
    recorded = await recorded_response(whole)
    head, complete = recorded.index(b"data:"), recorded.rindex(b"}}\n\n") + 4
    successes = set()
    async with talk(Script(slots=1), facts={"slots": 1}) as (client, server):
        server.play([whole])
        await ask(client)
        for at in range(0 if framing == "chunked" else head, len(recorded), step):
            server.play([replace(whole, cut_at=at, reset=reset)])
            try:
                chunks = await ask(client)
            except StepError as error:
                assert (error.kind, error.retryable) == ("server", True), (at, error.message)
            else:
                assert text(chunks) == "é"
                successes.add(at)
    assert len(recorded) > 600
    assert {at for at in successes if at < complete} == set(), "false success"
    if not reset:  # a reset takes bytes with it that had been sent
        assert set(range(complete, len(recorded))) == successes


async def test_a_stream_without_its_last_event_has_failed(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(no_stop=True)])) as (client, server):
        error = await fails(client)
    assert (error.kind, error.retryable) == ("server", True)
    assert "the step may run again" in error.message
    assert len(server.requests) == 1, "never the same stream again"


async def test_an_error_event_under_200_is_an_error(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(error_after=2)])) as (client, server):
        chunks = []
        with pytest.raises(StepError, match="Compute error") as caught:
            async for chunk in client.complete(PROMPT, {}):
                chunks.append(chunk)  # noqa: PERF401 (what came before the error is wanted)
    assert len(chunks) == 2
    assert caught.value.retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("at", [0, 20, 200, 400])
async def test_silence_ends_at_the_idle_limit(talk: Talk, at: int) -> None:
    async with talk(Script(replies=[Reply(stall_at=at)]), limits=Limits(idle_s=0.2)) as (client, server):
        begun = asyncio.get_running_loop().time()
        error = await fails(client)
        assert asyncio.get_running_loop().time() - begun < 1.2
        assert (error.kind, error.retryable) == ("timeout", True)
        await server.until(lambda s: s.in_flight == 0)


async def test_a_drip_ends_at_the_callers_deadline(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(drip_s=0.01)]), limits=Limits(idle_s=NEVER)) as (client, server):
        error = await fails(client, timeout_s=0.3)
        assert (error.kind, error.message) == ("timeout", "the completion took longer than 0.3 s")
        await server.until(lambda s: s.in_flight == 0)


# --- too much ---------------------------------------------------------------------------------------------------


@asynccontextmanager
async def apart(script: dict[str, Any], tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a fake server in a process of its own, so that its memory is not counted as ours."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script), encoding="utf-8")
    fake = "gptoss_flow.testing.fake_server"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", fake, "--replies", str(path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    url = (await process.stdout.readline()).decode().split()[-1]
    client = Client(endpoint(url), clock=JumpingClock())
    try:
        yield client
    finally:
        await client.aclose()
        process.kill()
        await process.communicate()


async def peak_mb(work: Callable[[], Awaitable[Any]]) -> float:
    tracemalloc.start()
    try:
        await work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


async def test_a_stream_without_end_is_ended(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(endless=True)])) as (client, server):
        with pytest.raises(StepError, match="more than was asked for") as caught:
            await ask(client, {"max_tokens": 100})
        await server.until(lambda s: s.in_flight == 0)
    assert not caught.value.retryable


async def test_a_huge_line_is_refused_without_filling_the_memory(tmp_path: Path) -> None:
    async with apart({"replies": [{"huge_line": 2**30}]}, tmp_path) as client:
        assert await peak_mb(lambda: fails(client, params={"max_tokens": 2**31 - 1})) < 50


@pytest.mark.parametrize("status", [200, 404])
async def test_a_huge_body_is_refused_without_filling_the_memory(tmp_path: Path, status: int) -> None:
    reply = {"status": status, "body": "x" * 2**20, "body_times": 1024}

    async def ask_both() -> None:
        with pytest.raises(StepError) as caught:
            await client.props()
        for error in (caught.value, await fails(client)):
            assert not error.retryable
            assert len(error.message) < 400

    async with apart({"replies": [reply], "answers": {"/props": reply}}, tmp_path) as client:
        assert await peak_mb(ask_both) < 50


async def test_a_compressed_answer_is_refused_unopened(tmp_path: Path) -> None:
    bomb = {"body": "0" * 2**20, "body_times": 64, "gzip": True}

    async def ask_both() -> None:
        assert "compressed" in (await fails(client)).message
        with pytest.raises(StepError, match="compressed"):
            await client.props()

    async with apart({"replies": [bomb], "answers": {"/props": bomb}}, tmp_path) as client:
        assert await peak_mb(ask_both) < 5


# --- statuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 501])
async def test_a_refusal_is_asked_once(talk: Talk, status: int) -> None:
    async with talk(Script(replies=[Reply(status=status, body="no")])) as (client, server):
        error = await fails(client)
    assert len(server.requests) == 1
    assert (error.kind, error.retryable) == ("server", False)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_proxy_is_asked_three_times(talk: Talk, clock: JumpingClock, status: int) -> None:
    async with talk(Script(replies=[Reply(status=status, body="busy")])) as (client, server):
        error = await fails(client)
    assert len(server.requests) == 3
    assert clock.slept == [0.1875, 0.375]
    assert error.retryable


async def test_a_busy_proxy_that_recovers_costs_nothing_but_time(talk: Talk) -> None:
    replies = [Reply(status=502, body=""), Reply(status=504, body=""), Reply(text="ok")]
    async with talk(Script(replies=replies)) as (client, _):
        assert text(await ask(client)) == "ok"


async def test_a_500_is_asked_twice_and_told_with_the_end_of_the_log(talk: Talk, tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    log.write_bytes(b"x" * 9000 + b"\nggml: \x1b[31mout of memory\n\nslot gave up\n")
    async with talk(Script(replies=[Reply(status=500, body="{}")]), facts={"log_path": log}) as (client, server):
        error = await fails(client)
    assert len(server.requests) == 2
    assert "out of memory | slot gave up" in error.message
    assert "\x1b" not in error.message


async def test_retry_after_is_honoured(talk: Talk, clock: JumpingClock) -> None:
    busy = Reply(status=429, headers={"Retry-After": "30"}, body="")
    dated = Reply(status=429, headers={"Retry-After": "Thu, 01 Jan 2026 00:00:50 GMT"}, body="")
    async with talk(Script(replies=[busy, dated, Reply(text="ok")])) as (client, _):
        assert text(await ask(client)) == "ok"
    assert clock.slept == pytest.approx([30, 20])


async def test_a_wait_of_hours_is_refused(talk: Talk, clock: JumpingClock) -> None:
    async with talk(Script(replies=[Reply(status=429, headers={"Retry-After": "86400"}, body="")])) as (client, _):
        assert "86400" in (await fails(client)).message
    assert clock.slept == []


async def test_loading_is_waited_for(talk: Talk, clock: JumpingClock) -> None:
    async with talk(Script(load_s=0.3)) as (client, server):
        assert text(await ask(client))
    assert len(server.requests) > 3
    assert set(clock.slept) == {0.1}


async def test_a_refused_connection_is_tried_until_somebody_listens(clock: JumpingClock) -> None:
    async with FakeServer() as gone:
        pass
    client = Client(endpoint(gone.url), clock=clock)
    assert "cannot be reached" in (await fails(client)).message
    assert sum(clock.slept) == pytest.approx(2.0)

    class LateClock(JumpingClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.slept) == 3:
                await late.start()

    late = FakeServer(Script(replies=[Reply(text="ok")]), port=gone.port)
    patient = Client(endpoint(gone.url), clock=LateClock())
    assert text(await ask(patient)) == "ok"
    await patient.aclose()
    await client.aclose()
    await late.close()


async def test_a_wrong_key_is_refused_and_not_told(talk: Talk) -> None:
    async with talk(Script(api_key="right"), facts={"api_key": "wrong-secret"}) as (client, server):
        error = await fails(client)
    assert "401" in error.message
    assert "Invalid API Key" in error.message
    assert "wrong-secret" not in error.message
    assert len(server.requests) == 1


async def test_a_context_overflow_tells_both_sizes(talk: Talk) -> None:
    async with talk(Script(context_tokens=10)) as (client, server):
        error = await fails(client)
    assert (error.kind, error.retryable) == ("model", False)
    assert f"it has {len(PROMPT)} tokens, a request may use 10" in error.message
    assert len(server.requests) == 1


@pytest.mark.parametrize("where", ["http://127.0.0.1:1/x", "file:///etc/passwd", "//evil.example", ""])
async def test_redirects_are_refused(talk: Talk, where: str) -> None:
    async with FakeServer() as other:
        location = where.replace(":1/", f":{other.port}/")
        moved = Reply(status=302, headers={"Location": location}, body="")
        async with talk(Script(replies=[moved], answers={"/props": moved})) as (client, server):
            assert "redirect" in (await fails(client)).message
            with pytest.raises(StepError, match="redirect"):
                await client.props()
        assert len(server.requests) == 2
        assert other.requests == []


GARBAGE = {
    "html": "<html><title>nginx</title>\x1b[2J</html>",
    "empty": "",
    "NaN": '{"content": NaN, "tokens": [NaN]}',
    "not an object": "[1, 2",
    "invalid UTF-8": "\udcff\udcfe\udc00\udc01",
    "nested": "[" * 100_000,
    "long number": '{"content": ' + "9" * 5000 + "}",
    "long": "x" * 10_000,
    "JSON of another kind": '{"content": ["a"], "tokens": "b", "prompt": 1, "data": {}}',
}


@pytest.mark.parametrize("body", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("kind", ["application/json", "text/html", "text/event-stream"])
async def test_garbage_is_a_typed_error_that_shows_a_little_of_it(talk: Talk, body: str, kind: str) -> None:
    reply = Reply(body=body, headers={"Content-Type": kind})
    as_event = Reply(body=f"data: {body}\n\n", headers={"Content-Type": kind})
    paths = ["/props", "/tokenize", "/apply-template", "/v1/models", "/detokenize"]
    async with talk(Script(replies=[reply, as_event], answers=dict.fromkeys(paths, reply))) as (client, _):
        errors = [await fails(client), await fails(client)]
        for call in (
            client.tokenize("x", special=False),
            client.apply_template([]),
            client.models(),
            client.detokenize([1]),
        ):
            with pytest.raises(StepError) as caught:
                await call
            errors.append(caught.value)
    for error in errors:
        assert error.kind == "server"
        assert len(error.message) < 300
        assert "\x1b" not in error.message


async def test_what_is_no_http_at_all_is_a_typed_error(clock: JumpingClock) -> None:
    async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 smtp.example ESMTP\x1b[2J\r\n" * 10)
        writer.close()

    server = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
    client = Client(endpoint(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"), clock=clock)
    error = await fails(client)
    assert error.kind == "server"
    assert "\x1b" not in error.message
    await client.aclose()
    server.close()


# --- many at once, and ends -------------------------------------------------------------------------------------


async def test_no_more_requests_are_in_flight_than_there_are_slots(talk: Talk) -> None:
    async with talk(Script(slots=4, replies=[Reply(text="ab")]), facts={"slots": 2}) as (client, server):
        answers = await asyncio.gather(*(ask(client) for _ in range(300)))
    assert len(server.requests) == 300
    assert server.max_in_flight == 2
    assert {text(a) for a in answers} == {"ab"}


async def test_the_wait_for_a_slot_is_reported(talk: Talk) -> None:
    slow = Reply(text="a", ttft_s=0.2)
    async with talk(Script(replies=[slow]), facts={"slots": 1}) as (client, _):
        first, second = await asyncio.gather(ask(client), ask(client))
    assert first[-1].final is not None
    assert second[-1].final is not None
    assert first[-1].final.queued_s < 0.1
    assert second[-1].final.queued_s > 0.15
    assert second[0].arrived - second[-1].final.sent < 0.5, "not part of what is counted from sending"


async def test_closing_the_iterator_frees_the_slot_at_once(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(endless=True, token_delay_s=0.01)]), facts={"slots": 1}) as (
        client,
        server,
    ):
        stream = client.complete(PROMPT, {})
        await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(3):
            await server.until(lambda s: s.in_flight == 0)
        assert server.requests[0].abandoned
        await anext(client.complete(PROMPT, {}))


async def test_dropping_the_iterator_frees_the_slot_at_once(talk: Talk) -> None:
    async with talk(Script(replies=[Reply(token_delay_s=NEVER)])) as (client, server):
        stream = client.complete(PROMPT, {})
        await anext(stream)
        del stream
        gc.collect()
        async with asyncio.timeout(3):
            await server.until(lambda s: s.in_flight == 0)


@pytest.mark.parametrize(
    "reply", [Reply(ttft_s=NEVER), Reply(token_delay_s=NEVER), Reply(status=502, ttft_s=NEVER)]
)
async def test_cancelling_the_caller_frees_the_slot_at_once(talk: Talk, reply: Reply) -> None:
    async with talk(Script(replies=[reply])) as (client, server):
        task = asyncio.create_task(ask(client))
        await server.until(lambda s: s.in_flight == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(3):
            await server.until(lambda s: s.in_flight == 0)


async def test_cancel_all_ends_what_runs_and_what_waits_but_not_the_client(talk: Talk) -> None:
    replies = [Reply(ttft_s=NEVER), Reply(token_delay_s=NEVER), Reply(text="ok")]
    async with talk(Script(replies=replies)) as (client, server):
        tasks = [asyncio.create_task(ask(client)) for _ in range(5)]
        await server.until(lambda s: s.in_flight == 2)
        await client.cancel_all()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(e) for e in errors] == [StepError] * 5
        assert {e.kind for e in errors if isinstance(e, StepError)} == {"cancelled"}
        await server.until(lambda s: s.in_flight == 0)
        assert text(await ask(client)) == "ok"


async def test_a_server_that_dies_fails_what_is_in_flight_at_once(talk: Talk) -> None:
    died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with talk(Script(replies=[Reply(ttft_s=NEVER)]), died=died) as (client, server):
        tasks = [asyncio.create_task(ask(client)) for _ in range(3)]
        await server.until(lambda s: s.in_flight == 2)
        died.set_result("server-died(9)")
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        for error in [*errors, await fails(client)]:
            assert isinstance(error, StepError)
            assert (error.kind, error.message, error.retryable) == ("server", "server-died(9)", True)
        with pytest.raises(StepError, match="server-died"):
            await client.tokenize("x", special=False)
        assert not await client.health()


async def test_a_death_that_nobody_can_explain_is_a_death(talk: Talk) -> None:
    died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with talk(Script(replies=[Reply(ttft_s=NEVER)]), died=died) as (client, server):
        task = asyncio.create_task(ask(client))
        await server.until(lambda s: s.in_flight == 1)
        died.cancel()
        with pytest.raises(StepError, match="the server died"):
            await task


async def test_proxies_of_the_environment_are_ignored(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeServer() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with talk(Script()) as (client, server):
            await ask(client)
            await client.props()
            await client.health()
        assert len(server.requests) == 3
        assert proxy.requests == []


async def test_a_refused_parameter_is_never_sent(talk: Talk) -> None:
    async with talk(Script()) as (client, server):
        for tokens, params in (([1], {"id_slot": 9}), ([1], {"top_k": -5}), ([1, "a"], {}), ([], {})):
            with pytest.raises(StepError) as caught:
                await anext(client.complete(tokens, params))  # type: ignore[arg-type]
            assert not caught.value.retryable
    assert server.requests == []
