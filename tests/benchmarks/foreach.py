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
from pathlib import Path
from unittest import mock

import httpx

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.events import Stamped
from gptoss_flow.plan.plan import Plan
from tests.benchmarks.measure import Took, demo_project, interleaved, verdict, warm_server
from tests.benchmarks.recording import BOUND_PERCENT, PROMPTS, SLOTS, TOKENS, Timed, flow, text, timed_files

BOUND = 1.03


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
    with timed_files():
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
        Timed.spent_s, walls = 0.0, list[float]()

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
        verdict("of which recording", Timed.spent_s / sum(walls) * 100, BOUND_PERCENT, " %"),
    )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 9))
