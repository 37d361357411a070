"""The client against llama.cpp's own server with a real model: what no fake can prove."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gptoss_flow import metrics
from gptoss_flow.errors import StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.retry import Policy
from gptoss_flow.ports import Chunk
from gptoss_flow.run.clock import SystemClock
from tests.conftest import need
from tests.llama.conftest import endpoint

pytestmark = [pytest.mark.real, pytest.mark.anyio]

SERVE = """
import os, sys, threading, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.port = sys.argv[1], int(sys.argv[2])
p.hostnames, p.api_keys, p.ui, p.fit_params = ["127.0.0.1"], ["k"], False, False
p.n_ctx, p.n_parallel = 1024, 2
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(p)
sys.stdin.read()
os._exit(0)
"""
CONTEXT, SLOTS = 512, 2
GREEDY = {"temperature": 0, "max_tokens": 8}


@dataclass
class Served:
    url: str
    process: subprocess.Popen[bytes]


def start(model: Path) -> Served:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(model), str(port)]
    # The server ends when its standard input does: with this process, however that ends.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ)
    )
    return Served(f"http://127.0.0.1:{port}", process)


def stop(served: Served) -> None:
    served.process.kill()
    served.process.communicate()


@pytest.fixture(scope="module")
def served(demo_model: Path) -> Iterator[Served]:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    served = start(demo_model)
    yield served
    stop(served)


@asynccontextmanager
async def connected(served: Served, key: str = "k") -> AsyncIterator[Client]:
    facts = {"api_key": key, "slots": SLOTS, "context_tokens": CONTEXT}
    client = Client(endpoint(served.url, **facts), clock=SystemClock(), policy=Policy(refused_window_s=60))
    try:
        yield client
    finally:
        await client.aclose()


async def ask(client: Client, prompt: str, **params: object) -> list[Chunk]:
    tokens = await client.tokenize(prompt, special=False)
    return [chunk async for chunk in client.complete(tokens, GREEDY | params)]


async def test_a_server_that_loads_is_waited_for_and_answers(served: Served) -> None:
    async with connected(served) as client:
        assert (await client.props())["total_slots"] == SLOTS
        assert await client.health()
        assert len(await client.models()) == 1
        assert "<|im_start|>user\nhi" in await client.apply_template([{"role": "user", "content": "hi"}])
        assert len(await client.tokenize("<|im_end|>", special=True)) == 1
        assert len(await client.tokenize("<|im_end|>", special=False)) > 1


async def test_figures_of_client_and_server_agree(served: Served) -> None:
    async with connected(served) as client:
        begun = time.perf_counter()
        prompt = "The capital of France is a city with a tower, a river and"
        chunks = [await ask(client, prompt) for _ in range(2)][1]
        wall_s = time.perf_counter() - begun
    final = chunks[-1].final
    assert final is not None
    assert sum(len(c.tokens) for c in chunks) == final.tokens_predicted == 8
    assert final.stop_type == "limit"
    assert final.timings["prompt_n"] + final.timings["cache_n"] == final.tokens_evaluated
    assert final.timings["cache_n"] > 5, "the second time, the prompt is known"
    took = metrics.timings(final.sent, [(c.arrived, len(c.tokens)) for c in chunks], final.timings)
    assert 0 < took["ttft_s"] < took["latency_s"] < wall_s
    assert took["decode_tps"] > 0


async def test_no_id_is_lost_inside_characters(served: Served) -> None:
    async with connected(served) as client:
        chunks = await ask(client, "🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉🎉", max_tokens=6)
        ids = [i for c in chunks for i in c.tokens]
        assert await client.detokenize(ids) == "".join(c.text for c in chunks) == "🎉🎉"
        assert len(ids) == 6


async def test_an_overflow_tells_both_sizes(served: Served) -> None:
    async with connected(served) as client:
        with pytest.raises(StepError, match=f"it has 600 tokens, a request may use {CONTEXT}") as caught:
            await anext(client.complete([5] * 600, GREEDY))
    assert (caught.value.kind, caught.value.retryable) == ("model", False)


async def test_the_context_that_ends_is_reported_as_truncated(served: Served) -> None:
    async with connected(served) as client:
        chunks = [c async for c in client.complete([5] * (CONTEXT - 2), GREEDY | {"max_tokens": 30})]
    final = chunks[-1].final
    assert final is not None
    assert (final.truncated, final.stop_type) == (True, "limit")
    assert final.tokens_predicted < 30


async def test_a_wrong_key_is_refused(served: Served) -> None:
    async with connected(served, key="wrong") as client:
        with pytest.raises(StepError, match="401"):
            await ask(client, "x")


async def test_connections_that_the_server_ends_after_100_requests_are_no_failures(served: Served) -> None:
    async with connected(served) as client:
        for _ in range(150):
            assert await client.tokenize("x", special=False)


async def test_a_stream_that_is_left_frees_its_slot_while_another_runs(served: Served) -> None:
    endless = GREEDY | {"max_tokens": 400, "ignore_eos": True}
    waits_s = []
    async with connected(served) as one, connected(served) as other:
        steady = one.complete([5, 6, 7], endless)
        await anext(steady)
        for _ in range(5):
            left = one.complete([8, 9], endless)
            await anext(left)
            await left.aclose()
            begun = time.perf_counter()
            (await anext(fresh := other.complete([10, 11], GREEDY)))
            waits_s.append(time.perf_counter() - begun)
            await fresh.aclose()
        await steady.aclose()
    print(f"slot free after s: {sorted(waits_s)}")
    assert max(waits_s) < 3


async def test_a_server_that_is_killed_fails_the_stream(demo_model: Path) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    served = start(demo_model)
    try:
        async with connected(served) as client:
            stream = client.complete([5, 6, 7], GREEDY | {"max_tokens": 400, "ignore_eos": True})
            await anext(stream)
            served.process.kill()
            with pytest.raises(StepError, match="broke off") as caught:
                async with asyncio.timeout(5):
                    async for _ in stream:
                        pass
        assert (caught.value.kind, caught.value.retryable) == ("server", True)
    finally:
        stop(served)
