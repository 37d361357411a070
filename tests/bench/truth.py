"""A server of completions whose every delay is programmed, and which keeps the times at which it did what.

For tests it runs in the event loop of whoever measures it: on a busy machine two processes disagree by as much as
they wait for the processor, and there only the measuring is to be judged. `apart` gives it a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Program:
    ttft_s: float = 0.120
    jitter_s: float = 0.020
    """The time to the first token is uniform within so much of `ttft_s`."""
    token_s: float = 0.020
    bursts: tuple[int, ...] = (1,)
    """How many tokens the chunks hold, in turn; a chunk comes when its last token is due."""
    error_every: int = 0
    slots: int = 64
    prefill_tps: float = 400.0
    seed: int = 1


class Server:
    """`truth`: of each request, when it was read and when how many tokens were written (`time.perf_counter()`)."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.url = ""
        self.truth: list[dict[str, Any]] = []
        self.slots = asyncio.Semaphore(program.slots)
        self.draw = random.Random(program.seed)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (int(x.split(":")[1]) for x in head.split("\r\n") if x.lower().startswith("content-le")), 0
            )
            body = json.loads(await reader.readexactly(length)) if length else {}
            await self.complete(body, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def complete(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        program, number = self.program, len(self.truth)
        record: dict[str, Any] = {"read": time.perf_counter(), "wrote": [], "error": False}
        self.truth.append(record)
        if program.error_every and number % program.error_every == program.error_every - 1:
            record["error"] = True
            said = b'{"error": {"message": "no luck"}}'
            writer.write(b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
            return
        async with self.slots:
            await self.stream(body, writer, record)

    async def stream(self, body: dict[str, Any], writer: asyncio.StreamWriter, record: dict[str, Any]) -> None:
        program, tokens = self.program, body["n_predict"]
        began = time.perf_counter()
        first = began + program.ttft_s + self.draw.uniform(-program.jitter_s, program.jitter_s)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n")
        done = 0
        for turn in range(tokens):
            burst = min(program.bursts[turn % len(program.bursts)], tokens - done)
            if burst <= 0:
                break
            done += burst
            await until(first + (done - 1) * program.token_s)
            if writer.transport.is_closing():
                return  # it was called off
            self.send(writer, {"content": "x" * burst, "tokens": [120] * burst, "tokens_predicted": done})
            record["wrote"].append([time.perf_counter(), burst])
        prompt_n = len(body["prompt"])
        decode_ms = (record["wrote"][-1][0] - record["wrote"][0][0]) * 1000
        timings = {
            "cache_n": 0, "prompt_n": prompt_n, "prompt_ms": prompt_n / program.prefill_tps * 1000,
            "predicted_n": tokens, "predicted_ms": decode_ms or 1.0,
        }  # fmt: skip
        self.send(writer, {
            "content": "", "tokens": [], "stop": True, "stop_type": "limit", "tokens_predicted": tokens,
            "tokens_evaluated": prompt_n, "timings": timings,
        })  # fmt: skip
        writer.write(b"0\r\n\r\n")

    @staticmethod
    def send(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        data = f"data: {json.dumps(event)}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))


async def until(due: float) -> None:
    if (left := due - time.perf_counter()) > 0:
        await asyncio.sleep(left)


@asynccontextmanager
async def truthful(program: Program) -> AsyncIterator[Server]:
    """Such a server, for as long as it is needed."""
    server = Server(program)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server


@contextmanager
def apart(program: Program) -> Iterator[tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """Such a server in another process: its address, and what ends it and gives its truth."""
    command = [sys.executable, "-m", "tests.bench.truth", json.dumps(asdict(program))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        yield process.stdout.readline().strip(), lambda: json.loads(process.communicate()[0])


async def _serve_until_input_ends(program: Program) -> None:
    async with truthful(program) as server:
        print(server.url, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        json.dump(server.truth, sys.stdout)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(_serve_until_input_ends(Program(**{**given, "bursts": tuple(given["bursts"])})))
