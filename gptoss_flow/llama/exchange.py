"""One HTTP request and its answer, bounded in time and size; what goes wrong is a `Failed` or a `StepError`."""

from __future__ import annotations

import contextlib
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.llama import retry, wire
from gptoss_flow.llama.lean_httpx import httpx
from gptoss_flow.llama.patience import silence_limit
from gptoss_flow.llama.sse import EventStreamParser, TooLarge
from gptoss_flow.ports import Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the client waits for at most, in seconds, and takes at most, in bytes."""

    connect_s: float = 5.0
    idle_s: float = 90.0
    """Between two reads. A server that is busy with a long prompt sends a comment every 30 s."""
    call_s: float = 60.0
    """For one attempt at anything but a completion."""
    health_s: float = 5.0
    drain_s: float = 0.5
    """After the last event: the end of the body is read so that the connection can be used again."""
    answer_bytes: int = 16 * 2**20
    error_bytes: int = 64 * 2**10
    event_bytes: int = 32 * 2**10
    """Of a stream, on average: with 100 probabilities an event has about 10 kB."""
    spare_events: int = 64
    """Of a stream, beside one for each token that was asked for; the last one may hold the whole prompt."""


class Failed(Exception):
    """An exchange failed in a way that the retry table knows."""

    def __init__(self, failure: retry.Failure) -> None:
        super().__init__(failure)
        self.failure = failure


class Http:
    """The connections to one endpoint."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self._limits = limits
        self._log_path = endpoint.log_path
        key = endpoint.api_key
        self._client = httpx.AsyncClient(
            base_url=endpoint.url,
            # Compressed answers are refused: what is never unpacked cannot be a bomb.
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {}),
            verify=ssl.create_default_context() if endpoint.url.startswith("https:") else False,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=limits.connect_s),
            # An idle connection holds one of the server's threads, and the server closes it after 5 s.
            limits=httpx.Limits(
                max_connections=endpoint.slots + 2, max_keepalive_connections=endpoint.slots, keepalive_expiry=2.0
            ),
        )

    async def json(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> Json:
        async with self._open(method, path, body) as response:
            content = await self._read(response, self._limits.answer_bytes)
        if len(content) > self._limits.answer_bytes:
            raise StepError("server", f"the answer of {path} is too long", retryable=False)
        try:
            return wire.parse_json(content)
        except ValueError:
            raise _not_understood(f"the answer of {path} is not JSON", content) from None

    async def events(
        self, path: str, body: Mapping[str, Json], max_bytes: int
    ) -> AsyncGenerator[tuple[float, str], None]:
        """The data of each event of a stream, with the `time.perf_counter()` at which its last bytes were read."""
        parser = EventStreamParser()
        async with self._open("POST", path, body) as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                content = await self._read(response, self._limits.error_bytes)
                raise _not_understood("the server did not send an event stream", content)
            async with aclosing(self._pieces(response)) as pieces:
                async for piece in pieces:
                    arrived = time.perf_counter()
                    max_bytes -= len(piece)
                    if max_bytes < 0:
                        raise StepError("server", "the server sends more than was asked for", retryable=False)
                    try:
                        events = parser.feed(piece)
                    except TooLarge as error:
                        raise StepError("server", str(error), retryable=False) from None
                    for event in events:
                        yield arrived, event.data

    async def aclose(self) -> None:
        await self._client.aclose()

    @asynccontextmanager
    async def _open(
        self, method: str, path: str, body: Mapping[str, Json] | None
    ) -> AsyncIterator[httpx.Response]:
        """A 200 whose body is still to be read."""
        # httpx would let lone surrogates and NaN through.
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        headers = {"Content-Type": "application/json"} if content else {}
        request = self._client.build_request(method, path, content=content, headers=headers)
        try:
            async with silence_limit(self._limits.idle_s):
                response = await self._client.send(request, stream=True)
        except TimeoutError:
            raise Failed(retry.Silent(self._limits.idle_s)) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Failed(retry.Unreachable(_why(error))) from None
        except httpx.TransportError as error:
            raise Failed(retry.Disconnected(_why(error))) from None
        try:
            if response.status_code != 200:
                raise Failed(await self._refusal(response))
            if response.headers.get("content-encoding", "identity") != "identity":
                raise StepError("server", "the server sent a compressed answer, unasked", retryable=False)
            yield response
        finally:
            await response.aclose()

    async def _refusal(self, response: httpx.Response) -> retry.Answered:
        content = b""
        with contextlib.suppress(Failed):
            content = await self._read(response, self._limits.error_bytes)
        status = response.status_code
        return retry.Answered(
            status=status,
            fault=wire.read_fault(content),
            retry_after=response.headers.get("retry-after", ""),
            location=response.headers.get("location", ""),
            log_tail=_log_tail(self._log_path) if status == 500 else "",
        )

    async def _read(self, response: httpx.Response, limit: int) -> bytes:
        """The body; of one longer than `limit` bytes a beginning that is longer than that too."""
        content = bytearray()
        async with aclosing(self._pieces(response)) as pieces:
            async for piece in pieces:
                content += piece
                if len(content) > limit:
                    break
        return bytes(content)

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        async with aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw())) as pieces:
            while True:
                try:
                    async with silence_limit(self._limits.idle_s):
                        piece = await anext(pieces, None)
                except TimeoutError:
                    raise Failed(retry.Silent(self._limits.idle_s)) from None
                except httpx.TransportError as error:
                    raise Failed(retry.Cut(_why(error))) from None
                if piece is None:
                    return
                yield piece


def _why(error: httpx.TransportError) -> str:
    return wire.excerpt(str(error) or type(error).__name__)


def _not_understood(what: str, content: bytes) -> StepError:
    return StepError("server", f"{what}: {wire.read_fault(content).message}", retryable=False)


def _log_tail(path: Path | None, lines: int = 3) -> str:
    if path is None:
        return ""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 4096))
            last = deque(filter(None, map(bytes.strip, log)), maxlen=lines)
    except OSError:
        return ""
    return " | ".join(one_line(line.decode("utf-8", "replace")) for line in last)
