"""Between client and server: a proxy that breaks things at random, any cut of a stream, slots that come free."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.exchange import Limits
from gptoss_flow.llama.sse import EventStreamParser
from gptoss_flow.ports import Endpoint
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.faults.managed import PatientClock, real, state_folder
from tests.faults.stage import Figure, Scene, Stage, Tally

TEXT = "Ünïcödé answers, one token a byte. " * 2
WITHIN_S = 30.0
AT_ONCE = 10
FREE_S = 3.0


@dataclass(frozen=True)
class Toxics:
    """What the proxy does to one connection's answer; times in seconds, sizes in bytes, none: not."""

    latency_s: float
    jitter_s: float
    piece: int
    limit: int | None
    reset: bool
    slow_close_s: float
    bytes_per_s: float | None

    @classmethod
    def roll(cls, dice: random.Random) -> Toxics:
        def some(chance: float, value: Any) -> Any:
            return value if dice.random() < chance else None

        return cls(
            latency_s=some(0.3, dice.uniform(0, 0.05)) or 0.0,
            jitter_s=some(0.3, dice.uniform(0, 0.003)) or 0.0,
            piece=dice.choice([1, 7, 100, 65536]),
            limit=some(0.4, dice.randrange(0, 20_000)),
            reset=dice.random() < 0.5,
            slow_close_s=some(0.2, dice.uniform(0, 0.1)) or 0.0,
            bytes_per_s=some(0.2, dice.uniform(50_000, 500_000)),
        )


@asynccontextmanager
async def toxic(port: int, dice: random.Random) -> AsyncIterator[int]:
    """A proxy before this port, every connection with toxics of its own; its own port."""
    tasks: set[asyncio.Task[None]] = set()

    async def connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        toxics = Toxics.roll(dice)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        upward = asyncio.create_task(pour(reader, back))
        with suppress(OSError, asyncio.CancelledError):
            await spoil(there, writer, toxics, dice)
        upward.cancel()
        back.close()
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


async def spoil(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, toxics: Toxics, dice: random.Random
) -> None:
    left = toxics.limit
    await asyncio.sleep(toxics.latency_s)
    while data := await reader.read(65536):
        for start in range(0, len(data), toxics.piece):
            piece = data[start : start + toxics.piece][: left if left is not None else None]
            writer.write(piece)
            await writer.drain()
            if left is not None and (left := left - len(piece)) <= 0:
                if toxics.reset:
                    writer.transport.abort()
                return
            wait_s = toxics.jitter_s * dice.random() if dice.random() < 0.02 else 0.0
            wait_s += len(piece) / toxics.bytes_per_s if toxics.bytes_per_s else 0
            if wait_s > 0.001 or start % (toxics.piece * 50) == 0:
                await asyncio.sleep(wait_s)
    await asyncio.sleep(toxics.slow_close_s)


def endpoint(url: str, slots: int = 2) -> Endpoint:
    return Endpoint(
        url=url, api_key=None, engine="llama-server", build="b0", model="fake", model_path="/m.gguf", slots=slots,
        context_tokens=4096,
    )  # fmt: skip


class HastyClock(PatientClock):
    """Waits between attempts are a twentieth of what they should be."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


def toxic_mix(stage: Stage) -> Figure:
    """Latency, jitter, slices, cuts, resets, slow ends, narrow lines, by seed: all the text or a typed error."""

    async def once(seed: int) -> str:
        dice = random.Random(seed)
        async with (
            FakeServer(Script(replies=[Reply(text=TEXT, framing=dice.choice(["chunked", "close"]))])) as server,
            toxic(server.port, dice) as port,
        ):
            limits = Limits(connect_s=1, idle_s=2, call_s=3)
            client = Client(endpoint(f"http://127.0.0.1:{port}"), clock=HastyClock(), limits=limits)
            try:
                async with asyncio.timeout(WITHIN_S):
                    answers = await asyncio.gather(*(attempt(client) for _ in range(3)))
            except TimeoutError:
                return f"seed {seed} hangs"
            finally:
                await client.aclose()
        wrong = [text for text in answers if text is not None and text != TEXT]
        good.append(sum(text is not None for text in answers))
        return f"seed {seed} gave {wrong[0][-40:]!r}" if wrong else ""

    async def several(seeds: range) -> list[str]:
        return await asyncio.gather(*map(once, seeds))

    tally, good, seeds = Tally(), list[int](), stage.times(500)
    for first in range(0, len(seeds), AT_ONCE):
        for fault in asyncio.run(several(seeds[first : first + AT_ONCE])):
            tally.add(fault)
    figure = tally.figure()
    return Figure(
        f"{figure.said}; {sum(good)} of {3 * tally.played} answers whole, the others typed errors", figure.met
    )


async def attempt(client: Client) -> str | None:
    """The whole answer, None where it ended with a typed error."""
    try:
        return "".join([chunk.text async for chunk in client.complete([1, 2], {"max_tokens": 400})])
    except StepError:
        return None


def rechunked(stage: Stage) -> Figure:
    """A stream of every line end, comments, several data lines and split characters, in random pieces."""
    text = (
        "\ufeff: hello\r\n\r\ndata: é1\r\ndata: 2\r\n\r\nevent: x\rdata:3\r\rdata\n\ndata: \n\n:ping\n\nid: 7\n"
        'data: {"content": "\U0001f389\u2028"}\n\nretry: 10\ndata: tail\n\ndata: never'
    ).encode()
    whole = [(each.data, each.event, each.id) for each in EventStreamParser().feed(text)]
    dice, tally = random.Random(4), Tally()
    for _ in stage.times(100_000):
        parser, found, at = EventStreamParser(), [], 0
        while at < len(text):
            size = dice.choice((1, 1, 2, 3, 5, 40))
            found += [(each.data, each.event, each.id) for each in parser.feed(text[at : at + size])]
            at += size
        tally.add("" if found == whole else "other events")
    return tally.figure()


def abandoned(stage: Stage) -> Figure:
    """A stream is left while another one runs: how soon its slot has begun another's prompt."""

    async def waits(folder: Path, rounds: range) -> list[float]:
        async with state_folder(folder) as root:
            server = real(stage, root)
            ready = await server.ensure_ready()
            one, other = (Client(ready, clock=PatientClock()) for _ in range(2))
            endless = {"max_tokens": 450, "ignore_eos": True}
            found = []
            steady = one.complete([5, 6, 7], endless)
            await anext(steady)
            for _ in rounds:
                left = one.complete([8, 9], endless)
                await anext(left)
                await left.aclose()
                began = time.perf_counter()
                fresh = other.complete([10, 11], {"max_tokens": 2})
                await anext(fresh)
                found.append(time.perf_counter() - began)
                await fresh.aclose()
            await steady.aclose()
            await one.aclose()
            await other.aclose()
            await server.release()
        return found

    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="scene-") as name:
        for took_s in asyncio.run(waits(Path(name), stage.times(20))):
            tally.add("", took_s)
    return tally.figure(FREE_S)


def three_hundred_ready(stage: Stage) -> Figure:
    """Three hundred prompts are ready at once, the server has two slots: never are more than two on their way."""
    tally, most = Tally(), 0
    flow = (
        "version: 1\nsteps:\n  each:\n    foreach: ${{ range(300) | list }}\n"
        "    prompt: {mode: raw, text: 'n ${{ item }}', params: {max_tokens: 2}}\n"
    )
    items = ", ".join(map(str, range(300)))
    flow = flow.replace("${{ range(300) | list }}", f"[{items}]")

    async def once() -> str:
        nonlocal most
        async with FakeServer(Script(slots=2, replies=[Reply(text="ab", ttft_s=0.002)])) as server:
            with stage.project(flow) as project:
                done = await asyncio.to_thread(
                    project.run, "run", "flow.yaml", "--quiet", "--server", f"main={server.url}"
                )
            most = max(most, server.max_in_flight)
            asked = len(server.completions())
        return "" if done.code == 0 and asked == 300 else f"exit {done.code}, {asked} asked: {done.err[-300:]!r}"

    for _ in stage.times(2):
        tally.add(asyncio.run(once()))
    return Figure(f"{tally.figure().said}; {most} in flight at most", tally.figure().met and most == 2)


SCENES: dict[str, Scene] = {
    "toxic-mix": toxic_mix,
    "rechunked": rechunked,
    "abandoned": abandoned,
    "three-hundred-ready": three_hundred_ready,
}
