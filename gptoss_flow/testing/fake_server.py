"""A runnable fake of llama.cpp's HTTP server, with every fault that a script asks for. Standard library only.

In a test: `async with FakeServer(Script(replies=[Reply(text="hi")])) as server: … server.url …`.
By itself: `python -m gptoss_flow.testing.fake_server --port 0 --replies script.json`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from gptoss_flow.testing.fake_http import Request, read_request, send_error, send_reply, stream
from gptoss_flow.testing.fake_openai import PATHS, as_completion, openai_events
from gptoss_flow.testing.replies import (
    Reply,
    Script,
    apply_chatml,
    compute,
    detokenize,
    read_script,
    tokenize,
)

_PUBLIC = frozenset({"/health", "/v1/health"})


@dataclass(slots=True)
class _Slot:
    tokens: list[int] = field(default_factory=list)
    busy: bool = False
    task: int = -1
    """Which one of the completions was its last."""
    seed: int = 2**32 - 1


class FakeServer:
    """A server in this event loop: `requests` is what it was asked, `max_in_flight` counts completions."""

    def __init__(self, script: Script | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script or Script()
        self.host, self.port = host, port
        self.requests: list[Request] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.connections_seen = 0
        self.on_completion: Callable[[], None] = lambda: None
        self._slots = [_Slot() for _ in range(self.script.slots)]
        self._free = asyncio.Semaphore(self.script.slots)
        self.play(self.script.replies)
        self._loaded = asyncio.Event()
        self._changed = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def __aenter__(self) -> FakeServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Listen, and begin to load. Does nothing if it has been started. Raises `OSError`."""
        if self._server is not None:
            return
        reuse = self.script.reuse_port or None
        self._server = await asyncio.start_server(self._connection, self.host, self.port, reuse_port=reuse)
        self.port = self._server.sockets[0].getsockname()[1]
        if self.script.load_s == 0:
            self.finish_loading()
        elif math.isfinite(self.script.load_s):
            asyncio.get_running_loop().call_later(self.script.load_s, self.finish_loading)

    def finish_loading(self) -> None:
        self._loaded.set()

    def stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        self.stop_listening()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def play(self, replies: Sequence[Reply]) -> None:
        """From now on, completions are answered with these."""
        self._conditional = [r for r in replies if r.when]
        self._replies = iter([r for r in replies if not r.when])
        self._reply = Reply()

    async def until(self, happened: Callable[[FakeServer], bool]) -> None:
        """Wait until something is so: asked again whenever a completion comes, or any request ends."""
        while not happened(self):
            self._changed.clear()
            await self._changed.wait()

    def completions(self) -> list[Request]:
        return [r for r in self.requests if r.path == "/completion" or r.path in PATHS]

    # --- connections and requests ------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connections_seen += 1
        try:
            while (request := await read_request(reader)) is not None:
                self.requests.append(request)
                answering = asyncio.create_task(self._answer(request, writer))
                # Like llama.cpp's server, we notice a client that leaves even while there is nothing to send.
                leaving = asyncio.create_task(reader.read(1))
                try:
                    await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                    request.done = answering.done() and answering.exception() is None
                    request.abandoned = not request.done
                finally:
                    for part in (answering, leaving):
                        part.cancel()
                    await asyncio.gather(answering, leaving, return_exceptions=True)
                    self._changed.set()
                if not request.done or not answering.result():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection can be used again."""
        script = self.script
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._loaded.is_set():
            return await send_error(writer, 503, "Loading model", "unavailable_error")
        if script.api_key is not None and request.path not in _PUBLIC and key != script.api_key:
            return await send_error(writer, 401, "Invalid API Key", "authentication_error")
        if request.path in script.answers:
            return await send_reply(writer, script.answers[request.path])
        body = request.body if isinstance(request.body, dict) else {}
        if script.only_openai and not request.path.startswith("/v1/"):
            return await send_error(writer, 404, "Unexpected endpoint or method.", "not_found_error")
        match request.path:
            case "/health" | "/v1/health":
                answer: Any = {"status": "ok"}
            case "/props":
                answer = {
                    "default_generation_settings": {"params": {}, "n_ctx": script.context_tokens},
                    "total_slots": script.slots,
                    "model_alias": script.model_path,
                    "model_path": script.model_path,
                    "endpoint_slots": True,
                    "chat_template": script.chat_template,
                    "bos_token": "<|im_start|>",
                    "eos_token": "<|im_end|>",
                    "build_info": script.build,
                    "is_sleeping": False,
                }
            case "/v1/models":
                meta = {"n_vocab": script.n_vocab, "n_ctx": script.context_tokens}
                ids = script.models or (script.model_path,)
                data = [{"id": name, "object": "model", "meta": meta} for name in ids]
                answer = {"object": "list", "data": data}
            case "/slots":
                answer = [
                    {"id": i, "is_processing": slot.busy, "id_task": slot.task, "params": {"seed": slot.seed}}
                    for i, slot in enumerate(self._slots)
                ]
            case "/tokenize":
                answer = {"tokens": tokenize(body["content"], special=body.get("parse_special", True))}
            case "/detokenize":
                answer = {"content": detokenize(body["tokens"])}
            case "/apply-template":
                answer = {"prompt": apply_chatml(body["messages"])}
            case "/completion":
                return await self._complete(body, writer)
            case path if path in PATHS:
                return await self._complete(as_completion(body), writer, path)
            case _:
                return await send_error(writer, 404, "File Not Found", "not_found_error")
        return await send_reply(writer, Reply(body=json.dumps(answer)))

    # --- completions -------------------------------------------------------------------------------------------

    async def _complete(self, body: dict[str, Any], writer: asyncio.StreamWriter, path: str = "") -> bool:
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        self._changed.set()
        try:
            self.on_completion()
            if isinstance(body.get("prompt"), str):
                body["prompt"] = tokenize(body["prompt"], special=True)
            prompt, context = body.get("prompt") or [], self.script.context_tokens
            reply = self._next_reply(detokenize(prompt))
            if reply.body is not None or reply.status != 200:
                return await send_reply(writer, reply)
            if not prompt or max(prompt) >= self.script.n_vocab:
                return await send_error(writer, 400, "Prompt contains invalid tokens", "invalid_request_error")
            if len(prompt) >= context:
                said = f"request ({len(prompt)} tokens) exceeds the available context size ({context} tokens)"
                facts = {"n_prompt_tokens": len(prompt), "n_ctx": context}
                return await send_error(writer, 400, said, "exceed_context_size_error", **facts)
            async with self._free:
                slot, cached = self._take_slot(prompt, body.get("id_slot", -1))
                slot.task, slot.seed = len(self.completions()), body.get("seed", 2**32 - 1)
                try:
                    completion = compute(reply, body, cached, context)
                    slot.tokens = [*prompt, *completion.tokens]
                    if body.get("stream"):
                        events = openai_events(path, reply, completion, body["model"]) if path else None
                        return await stream(writer, reply, completion, events)
                    return await send_reply(writer, Reply(body=json.dumps(completion.final(streamed=False))))
                finally:
                    slot.busy = False
        finally:
            self.in_flight -= 1
            self._changed.set()

    def _next_reply(self, prompt: str) -> Reply:
        for reply in self._conditional:
            if reply.when in prompt:
                return reply
        self._reply = next(self._replies, self._reply)
        return self._reply

    def _take_slot(self, prompt: list[int], wanted: int) -> tuple[_Slot, int]:
        """The slot that is wanted, or else the free one that knows most of the prompt (the least recently used
        of equals), and how much of it; the last token is always evaluated."""

        def known(slot: _Slot) -> int:
            return sum(
                1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(slot.tokens, prompt, strict=False))
            )

        free = [slot for slot in self._slots if not slot.busy]
        named = [slot for slot in self._slots[wanted : wanted + 1] if wanted >= 0 and not slot.busy]
        slot = max(named or free, key=lambda slot: (known(slot), -slot.task))
        slot.busy = True
        return slot, min(known(slot), len(prompt) - 1)


async def serve(server: FakeServer, log: Callable[[str], None]) -> int:
    """Run until SIGTERM or SIGINT. Like llama-server, it waits for open streams until a second signal comes."""
    stop = asyncio.Event()
    signals = 0

    def on_signal() -> None:
        nonlocal signals
        signals += not server.script.ignore_term
        if signals > 1:
            os._exit(0)
        if signals:
            stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    begun = 0

    def on_completion() -> None:
        nonlocal begun
        begun += 1
        if begun == server.script.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    server.on_completion = on_completion
    await server.start()
    log(f"main: server is listening on {server.url}")
    loaded, stopped = asyncio.create_task(server._loaded.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait({loaded, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        log("main: model loaded")
    await stopped
    loaded.cancel()
    server.stop_listening()
    await server.until(lambda s: s.in_flight == 0)
    await server.close()
    return 0


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fake_server", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the first line printed names it")
    parser.add_argument("--replies", type=Path, help="a script: JSON with the fields of replies.Script")
    options = parser.parse_args(argv)
    script = read_script(options.replies.read_text(encoding="utf-8")) if options.replies else Script()
    server = FakeServer(script, host=options.host, port=options.port)
    return asyncio.run(serve(server, lambda line: print(line, flush=True)))


if __name__ == "__main__":
    sys.exit(main())
