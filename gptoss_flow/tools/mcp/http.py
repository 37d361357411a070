"""A tool server at an address: MCP's streamable HTTP, within bounds, and to nowhere but this address."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp.client.streamable_http import streamable_http_client

from gptoss_flow.tools.mcp.link import Fault, Link
from gptoss_flow.tools.mcp.settings import ServerSettings

MAX_MESSAGE = 4 << 20
MAX_STREAM = 64 << 20
"""Of one answer that comes as a stream of events."""


@asynccontextmanager
async def connected(settings: ServerSettings) -> AsyncIterator[Link]:
    """Redirects are followed within the address's own origin only; proxies of the environment are not used."""
    fault = Fault()
    client = httpx2.AsyncClient(
        headers={**settings.headers, "Accept-Encoding": "identity"},
        timeout=settings.timeout_s,
        trust_env=False,
        verify=False,  # its transport sees to that
        transport=_Bounded(fault),
    )
    async with (
        client,
        streamable_http_client(settings.url, http_client=client, max_sse_event_size=MAX_MESSAGE) as (
            incoming,
            outgoing,
        ),
    ):
        yield Link(incoming, outgoing, fault)


class _Bounded(httpx2.AsyncHTTPTransport):
    """HTTP whose answers have an end."""

    def __init__(self, fault: Fault) -> None:
        # The system's authorities, or those of $SSL_CERT_FILE.
        super().__init__(verify=ssl.create_default_context(), trust_env=False)
        self._fault = fault

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await super().handle_async_request(request)
        except httpx2.TransportError as error:
            if request.method == "POST":  # else it was only the stream on which nothing is asked
                self._fault.say(f"{request.url.copy_with(userinfo=b'')}: {error or type(error).__name__}")
            raise
        if request.method == "POST" and response.status_code >= 400:
            self._fault.note = f" (HTTP {response.status_code})"
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            self._fault.say("it sends a compressed answer, which was not asked for")
            raise httpx2.RemoteProtocolError(self._fault.said, request=request)
        is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Counted(response.stream, MAX_STREAM if is_stream else MAX_MESSAGE, self._fault)
        return response


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int, fault: Fault) -> None:
        self._stream, self._most, self._fault = stream, most, fault

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                self._fault.say(f"it sends more than {self._most >> 20} MiB")
                raise httpx2.ReadError(self._fault.said)
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
