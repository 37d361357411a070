"""A `foreach` of prompts that fills 4 slots against bare httpx: `python -m tests.benchmarks.foreach [N]`.

Both send the same prompts to the same warm server, four at a time, and read the streams to their ends. Ours is the
whole run: the record on storage, every token an event. In the same runs: what the two files of the record take.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import httpx

from gptoss_flow.app import recording
from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.events import Stamped
from gptoss_flow.plan.plan import Plan
from tests.benchmarks.measure import Took, demo_project, interleaved, verdict, warm_server

BOUND = 1.03
RECORD_BOUND_PERCENT = 2.0
SLOTS, PROMPTS, TOKENS = 4, 16, 32


def text(number: int) -> str:
    return f"{number}. A short story about the sea, told by an old sailor in a harbour town. "


def flow(server: dict[str, str]) -> str:
    numbers = ", ".join(map(str, range(PROMPTS)))
    return (
        f"version: 1\nservers: {{main: {{url: '{server['url']}', api_key: env:BENCH_KEY, parallel: {SLOTS}}}}}\n"
        f"steps:\n  each:\n    foreach: [{numbers}]\n    prompt:\n      mode: raw\n"
        f"      text: '{text(0).replace('0.', '${{ item }}.')}'\n"
        f"      params: {{max_tokens: {TOKENS}, temperature: 0, ignore_eos: true}}\n"
    )


async def bare(server: dict[str, str]) -> Took:
    """The prompts as a plain client sends them."""
    slots = asyncio.Semaphore(SLOTS)
    headers = {"Authorization": f"Bearer {server['key']}"}
    began, cpu = time.perf_counter(), time.process_time()
    alone = httpx.Limits(max_keepalive_connections=0)  # the server may close one that is to be used again
    async with httpx.AsyncClient(
        base_url=server["url"], headers=headers, timeout=120, trust_env=False, limits=alone
    ) as client:

        async def ask(number: int) -> str:
            body = {
                "prompt": text(number),
                "n_predict": TOKENS,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
            }
            async with slots, client.stream("POST", "/completion", json=body) as response:
                pieces = [
                    json.loads(line[6:]) async for line in response.aiter_lines() if line.startswith("data: ")
                ]
            assert pieces[-1]["stop"]
            return "".join(piece["content"] for piece in pieces)

        await asyncio.gather(*map(ask, range(PROMPTS)))
    return Took(time.perf_counter() - began, time.process_time() - cpu)


class Sink:
    """A sink that times another one's work."""

    spent_s = 0.0

    def __init__(self, make: Callable[..., Sink], *args: object) -> None:
        self._sink = make(*args)
        self.close = self._sink.close

    def take(self, stamped: Stamped) -> None:
        began = time.perf_counter()
        self._sink.take(stamped)
        Sink.spent_s += time.perf_counter() - began


class Times:
    """A view that notes when the steps began and when the run ended."""

    def __init__(self) -> None:
        self.began = self.ended = 0.0

    def take(self, stamped: Stamped) -> None:
        if stamped.event.type == "run_started":
            self.began = time.perf_counter()
        self.ended = time.perf_counter()

    def close(self) -> None:
        pass


async def ours(plan: Plan, folder: Path) -> Took:
    times, cpu = Times(), time.process_time()
    with (
        mock.patch.object(recording, "JournalFile", partial(Sink, recording.JournalFile)),
        mock.patch.object(recording, "Rlog", partial(Sink, recording.Rlog)),
    ):
        finished = await run_flow(plan, Given(inputs={}, servers={}, cwd=folder), views=[times])
    assert finished.result.status == "succeeded", finished.result
    return Took(times.ended - times.began, time.process_time() - cpu)


def main(rounds: int) -> int:
    with (
        demo_project() as project,
        warm_server(project) as server,
        mock.patch.dict(os.environ, {**project.environ, "BENCH_KEY": server["key"]}),
    ):
        plan = check_flow(project.write("flow.yaml", flow(server)))
        asyncio.run(bare(server))
        Sink.spent_s, walls = 0.0, list[float]()

        def run() -> Took:
            took = asyncio.run(ours(plan, project.folder))
            walls.append(took.wall_s)
            return took

        theirs, mine = interleaved(rounds, lambda: asyncio.run(bare(server)), run)
    print(f"{PROMPTS} prompts of {TOKENS} tokens, {SLOTS} at once")
    for name, took in (("bare", theirs), ("ours", mine)):
        print(f"{name:6}{took.wall_s:8.2f} s, CPU of the client {took.cpu_s:.2f} s")
    return max(
        verdict("ours over bare", mine.wall_s / theirs.wall_s, BOUND),
        verdict("of which recording", Sink.spent_s / sum(walls) * 100, RECORD_BOUND_PERCENT, " %"),
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 9))
