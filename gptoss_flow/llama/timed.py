"""Requests whose answers are timed: each piece is stamped when the socket gives it, and read afterwards.

`llama.client` is for getting answers: it waits for a free slot, tries again, reads as it goes. This is for
measuring: one connection for each request, opened before its clock starts, nothing between socket and stamp.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.llama import completion, wire
from gptoss_flow.llama.request import completion_body
from gptoss_flow.llama.sse import EventStreamParser, TooLarge
from gptoss_flow.ports import Chunk, Endpoint, FinalChunk

MAX_BYTES = 256 * 2**20
"""Of one answer."""
_LAST_CHUNK = b"0\r\n\r\n"


class NotAnswered(Exception):
    """A request that failed, in one line."""


@dataclass(slots=True)
class Received:
    """One answer as it came. Times are `time.perf_counter()`."""

    sent: float = 0.0
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    cut: str = ""
    """Why the connection ended early, where it did."""

    @property
    def status(self) -> int:
        """HTTP's; 0 where nothing came."""
        line = b""
        for _, data in self.pieces:
            line += data[:64]
            if b"\n" in line or len(line) >= 64:
                break
        code = line.partition(b" ")[2][:3]
        return int(code) if code.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Timed:
    """A completion, read: its chunks, each with the number of its tokens, and the server's last word."""

    sent: float
    chunks: list[tuple[Chunk, int]]
    final: FinalChunk


class TimedClient:
    """Asks one endpoint, as often at once as it is told to. `on_data` hears that something came."""

    def __init__(self, endpoint: Endpoint, on_data: Callable[[], None] = lambda: None) -> None:
        parts = urlsplit(endpoint.url)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        key = f"Authorization: Bearer {endpoint.api_key}\r\n" if endpoint.api_key else ""
        self._head = (
            f"POST {parts.path}/completion HTTP/1.1\r\nHost: {parts.netloc}\r\n{key}Accept-Encoding: identity\r\n"
            "Connection: close\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode()
        self._on_data = on_data

    def request(self, tokens: tuple[int, ...], params: Mapping[str, Json]) -> bytes:
        """The bytes of a request, made beforehand. Raises `StepError` for parameters that are none."""
        body = json.dumps(completion_body(tokens, params), allow_nan=False).encode()
        return b"%b%d\r\n\r\n%b" % (self._head, len(body), body)

    async def ask(self, request: bytes, timeout_s: float, received: Received) -> None:
        """Send it and gather in `received` what comes, to its end. Raises `NotAnswered`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                transport, answer = await loop.create_connection(
                    lambda: _Answer(loop, self._on_data, received), self._host, self._port, ssl=self._tls
                )
                try:
                    received.sent = time.perf_counter()
                    transport.write(request)
                    await answer.ended
                finally:
                    transport.abort()
        except TimeoutError:
            raise NotAnswered(f"no whole answer within {timeout_s:g} s") from None
        except OSError as error:
            raise NotAnswered(f"no connection: {error.strerror or type(error).__name__}") from None


class _Answer(asyncio.Protocol):
    """Stamps what comes, and sees where the answer ends: nobody waits for a server that is slow to hang up."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_data: Callable[[], None], received: Received) -> None:
        self.received = received
        self.ended: asyncio.Future[None] = loop.create_future()
        self._on_data = on_data
        self._head = b""
        self._is_chunked = False
        self._left: int | None = None
        self._tail = b""
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self.received.pieces.append((time.perf_counter(), data))
        self._on_data()
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            self._end("the answer is too long")
        body = data if not self._head.endswith(b"\r\n\r\n") else None
        if body is not None:
            data = self._read_head(data)
        if self._is_chunked:
            self._tail = (self._tail + data)[-len(_LAST_CHUNK) :]
            if self._tail == _LAST_CHUNK:
                self._end()
        elif self._left is not None:
            self._left -= len(data)
            if self._left <= 0:
                self._end()

    def _read_head(self, data: bytes) -> bytes:
        """What of it is body already."""
        head, end, body = (self._head + data).partition(b"\r\n\r\n")
        self._head = head + end
        if end:
            lines = head.lower().split(b"\r\n")[1:]
            fields = dict(line.split(b":", 1) for line in lines if b":" in line)
            self._is_chunked = b"chunked" in fields.get(b"transfer-encoding", b"")
            length = fields.get(b"content-length", b"").strip()
            self._left = int(length) if length.isdigit() and not self._is_chunked else None
        return body

    def connection_lost(self, error: Exception | None) -> None:
        self._end("" if error is None else f"the connection broke: {type(error).__name__}")

    def _end(self, cut: str = "") -> None:
        if not self.ended.done():
            self.received.cut = cut
            self.ended.set_result(None)


def read(received: Received) -> Timed:
    """What an answer says. Raises `NotAnswered` for everything that is not a whole completion."""
    head, body = _parts(received)
    if not head:
        raise NotAnswered(received.cut or "the server closed the connection without an answer")
    if received.status != 200:
        fault = wire.read_fault(b"".join(data for _, data in body))
        raise NotAnswered(f"HTTP {received.status}: {fault.message}")
    chunks: list[tuple[Chunk, int]] = []
    try:
        for chunk, tokens in _chunks(body):
            chunks.append((chunk, tokens))
            if chunk.final is not None:
                return Timed(received.sent, chunks, chunk.final)
    except StepError as error:
        raise NotAnswered(error.message) from None
    except TooLarge as error:
        raise NotAnswered(str(error)) from None
    raise NotAnswered(received.cut or "the stream ended without its last event")


def arrivals_in(received: Received) -> list[tuple[float, int]]:
    """When how many tokens came, of an answer that was called off."""
    found = []
    with suppress(StepError, TooLarge):
        for chunk, tokens in _chunks(_parts(received)[1]):
            found.append((chunk.arrived, tokens))
    return found


def _parts(received: Received) -> tuple[bytes, list[tuple[float, bytes]]]:
    """The head, empty where it is not whole, and the data of the body, each part with its time."""
    head, is_whole = b"", False
    body: list[tuple[float, bytes]] = []
    for at, data in received.pieces:
        if is_whole:
            body.append((at, data))
            continue
        head, end, rest = (head + data).partition(b"\r\n\r\n")
        is_whole = bool(end)
        if rest:
            body.append((at, rest))
    if not is_whole:
        return b"", []
    return head, _dechunked(body) if b"chunked" in head.lower() else body


def _chunks(body: list[tuple[float, bytes]]) -> Iterator[tuple[Chunk, int]]:
    """Each event of a completion with the number of its tokens. Raises `StepError`, `TooLarge`."""
    parser, generated = EventStreamParser(), 0
    for at, data in body:
        for each in parser.feed(data):
            event = completion.read_event(each.data)
            if event is None:
                continue
            new = len(event.tokens)
            if event.predicted is not None:
                # A character that is cut in two arrives once it is whole: its event stands for several tokens.
                new, generated = event.predicted - generated, event.predicted
            yield Chunk(event.text, event.tokens, at, event.final), max(0, new)


def _dechunked(body: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
    """The data of a chunked body, each part with the time at which it came. What is no chunk ends it."""
    found: list[tuple[float, bytes]] = []
    left, line, ends = 0, b"", 0
    for at, data in body:
        while data:
            if left > 0:
                part, data = data[:left], data[left:]
                left -= len(part)
                found.append((at, part))
                ends = 2 if left == 0 else 0
                continue
            if ends:
                skipped = min(ends, len(data))
                data, ends = data[skipped:], ends - skipped
                continue
            before, end, data = (line + data).partition(b"\n")
            line = before
            if end:
                size = before.split(b";")[0].strip()
                try:
                    left = int(size, 16)
                except ValueError:
                    return found
                if left == 0:
                    return found
                line = b""
    return found
