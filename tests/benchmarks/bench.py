"""How true a bench is: `python -m tests.benchmarks.bench [ROUNDS] [TRIES]`.

On the demo model, in turns with a bare asyncio client that reads the same streams: the tokens a second of four
requests at once; and, one at a time, the client's view of prefill and decode against llama.cpp's own timings. Then
the gate, against a server with programmed delays: how often a run that is 15 % slower fails a baseline with 10 %
allowed, and how often the same again passes.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gptoss_flow.llama.timed import TimedClient
from gptoss_flow.ports import Endpoint, RenderedPrompt
from gptoss_flow.trials import GATED, Baseline, Load, value_of
from tests.bench.made import Bench, request, target
from tests.bench.truth import Program, truthful
from tests.benchmarks.measure import demo_project, verdict, warm_server

BOUND_PERCENT = 5.0
AT_ONCE, REQUESTS, PROMPT_TOKENS, TOKENS = 4, 12, 64, 32
PROGRAM = Program(jitter_s=0.015)


class Numbers:
    """A model whose prompts are ids that it was given."""

    async def render(self, asked: Any) -> RenderedPrompt:
        tokens = tuple(range(1000, 1000 + PROMPT_TOKENS))
        return RenderedPrompt(mode="raw", messages=asked.messages, tokens=tokens, params=asked.params)


async def bare(endpoint: Endpoint) -> float:
    """Tokens a second, as a plain asyncio client counts them: all tokens over all of the time."""
    body = json.dumps(
        {
            "prompt": list(range(1000, 1000 + PROMPT_TOKENS)), "n_predict": TOKENS, "stream": True,
            "ignore_eos": True, "cache_prompt": False, "temperature": 0,
        }
    ).encode()  # fmt: skip
    key = f"Authorization: Bearer {endpoint.api_key}\r\n"
    head = f"POST /completion HTTP/1.1\r\nHost: x\r\n{key}Connection: close\r\n"
    asked = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    host, port = endpoint.url.removeprefix("http://").split(":")
    slots = asyncio.Semaphore(AT_ONCE)
    tokens = 0

    async def ask() -> None:
        nonlocal tokens
        async with slots:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(asked)
            async for line in reader:
                if line.startswith(b"data: ") and b'"stop":true' in line:
                    tokens += json.loads(line[6:])["tokens_predicted"]
            writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(REQUESTS)))
    return tokens / (time.perf_counter() - began)


async def ours(endpoint: Endpoint, at_once: int = AT_ONCE) -> dict[str, Any]:
    asked = request(
        loads=(Load(concurrency=at_once),), requests=REQUESTS, warmup=0, cooldown=0, request_timeout_s=120.0,
        params={"max_tokens": TOKENS, "ignore_eos": True, "cache_prompt": False, "temperature": 0},
    )  # fmt: skip
    bench = Bench(endpoint.url, make=lambda: target(endpoint.url, model=Numbers(), client=TimedClient(endpoint)))
    return (await bench.measure(asked)).trials[0]


async def real(rounds: int) -> int:
    with demo_project() as project, warm_server(project) as server:
        endpoint = Endpoint(
            url=server["url"], api_key=server["key"], engine="embedded", build="", model="demo", model_path="",
            slots=AT_ONCE, context_tokens=1024,
        )  # fmt: skip
        await bare(endpoint)
        ratios = []
        for number in range(rounds):
            order = (0, 1) if number % 2 else (1, 0)
            seen = {}
            for which in order:
                seen[which] = await bare(endpoint) if which else value_of(await ours(endpoint), "aggregate_tps")
            ratios.append(float(seen[0] or 0) / float(seen[1] or 1))
        alone = await ours(endpoint, 1)
    off = abs(statistics.median(ratios) - 1) * 100
    code = verdict(f"{AT_ONCE} at once, tokens a second, off a bare client's", off, BOUND_PERCENT, " %")
    for name in ("prefill", "decode"):
        server_tps, client_tps = (value_of(alone, f"{who}{name}_tps_p50") or 0.0 for who in ("", "client_"))
        if name == "decode":
            server_tps *= (TOKENS - 1) / TOKENS  # llama.cpp's clock starts with the first token, which it counts
        difference = abs(client_tps / server_tps - 1) * 100
        code |= verdict(f"one at a time, {name} off llama.cpp's own timings", difference, BOUND_PERCENT, " %")
    return code


async def gate(tries: int) -> int:
    gated = Baseline("kept.json", dict.fromkeys(GATED, 0.10), "refuse")
    slower = Program(PROGRAM.ttft_s * 1.15, PROGRAM.jitter_s * 1.15, PROGRAM.token_s * 1.15)
    passed = failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(tries):
            for program, keeps in ((PROGRAM, True), (PROGRAM, False), (slower, False)):
                async with truthful(program) as server:
                    bench = Bench(server.url, Path(folder), keep_baselines=keeps)
                    asked = request(loads=(Load(concurrency=8),), baseline=gated)
                    verdicts = (await bench.measure(asked)).verdicts
                if not keeps:
                    said_no = any(not each["ok"] for each in verdicts)
                    failed += said_no and program is slower
                    passed += not said_no and program is PROGRAM
    code = verdict(f"the same again, of {tries} tries failed", tries - passed, tries / 20)
    return code | verdict(f"15 % slower, of {tries} tries passed", tries - failed, tries / 20)


if __name__ == "__main__":
    rounds, tries = (int(word) for word in [*sys.argv[1:], "5", "20"][:2])
    sys.exit(asyncio.run(real(rounds)) | asyncio.run(gate(tries)))
