"""How the fake server speaks HTTP: a request read, a response written with the faults of its reply."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_flow.testing.replies import Completion, Reply, stream_events

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 503: "Service Unavailable"}


@dataclass(slots=True)
class Request:
    """One request that the server got, and what became of it."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: Any
    done: bool = False
    """The whole response was written."""
    abandoned: bool = False
    """The client left before that."""


class _Cut(Exception):
    """The script closes the connection here."""


class _Wire:
    """One response on its way, with the faults of its reply."""

    def __init__(self, writer: asyncio.StreamWriter, reply: Reply) -> None:
        self._writer = writer
        self._reply = reply
        self._sent = 0

    async def send(self, data: bytes) -> None:
        reply = self._reply
        ends = [at - self._sent for at in (reply.cut_at, reply.stall_at) if at is not None]
        data, held = (data[: max(0, min(ends))], len(data) > min(ends)) if ends else (data, False)
        for part in (data[i : i + 1] for i in range(len(data))) if reply.drip_s else (data,):
            self._writer.write(part)
            await self._writer.drain()
            if reply.drip_s:
                await asyncio.sleep(reply.drip_s)
        self._sent += len(data)
        if reply.cut_at is not None and self._sent >= reply.cut_at:
            if reply.reset:
                linger = struct.pack("ii", 1, 0)
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            raise _Cut
        if held:
            await asyncio.Event().wait()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Whatever')}", "Server: llama.cpp"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data) if self._reply.framing == "chunked" else data)


async def stream(
    writer: asyncio.StreamWriter,
    reply: Reply,
    completion: Completion,
    events: Iterable[tuple[int, Any]] | None = None,
) -> bool:
    """Send the completion's events, or these; a text among them is sent as it is."""
    wire = _Wire(writer, reply)
    framing = {"Transfer-Encoding": "chunked"} if reply.framing == "chunked" else {"Connection": "close"}
    try:
        await asyncio.sleep(reply.ttft_s)
        await wire.head(200, {"Content-Type": "text/event-stream"} | framing | dict(reply.headers))
        if reply.huge_line:
            await wire.chunk(b"data: ")
            for _ in range(0, reply.huge_line, 2**16):
                await wire.chunk(b"x" * 2**16)
        for tokens, event in stream_events(reply, completion) if events is None else events:
            said = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
            await wire.chunk(f"data: {said}\n\n".encode())
            await asyncio.sleep(tokens * reply.token_delay_s)
        if reply.framing == "chunked":
            await wire.send(b"0\r\n\r\n")
    except _Cut:
        return False
    return reply.framing == "chunked"


async def send_error(writer: asyncio.StreamWriter, status: int, message: str, kind: str, **facts: int) -> bool:
    error = {"code": status, "message": message, "type": kind, **facts}
    return await send_reply(writer, Reply(status=status, body=json.dumps({"error": error})))


async def send_reply(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    body = (reply.body or "").encode("utf-8", "surrogateescape")
    times = 1 if reply.gzip else reply.body_times
    headers = {"Content-Type": "application/json; charset=utf-8"}
    if reply.gzip:
        body = gzip.compress(body * reply.body_times)
        headers["Content-Encoding"] = "gzip"
    headers |= {"Content-Length": str(len(body) * times)} | dict(reply.headers)
    wire = _Wire(writer, reply)
    try:
        await asyncio.sleep(reply.ttft_s)
        await wire.head(reply.status, headers)
        for _ in range(times):
            await wire.send(body)
    except _Cut:
        return False
    return True


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    content = await reader.readexactly(int(headers.get("content-length", 0)))
    try:
        body = json.loads(content) if content else None
    except ValueError:
        body = content.decode("utf-8", "replace")
    return Request(method, path.partition("?")[0], headers, body)
