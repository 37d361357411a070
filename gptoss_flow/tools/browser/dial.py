"""Opens connections for the browser: a name is looked up once, every answer judged, and that very address dialled.

The judge sits where the connection is made, so no redirect, retry or second look-up can go around it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any

import httpcore

from gptoss_flow.sites.addresses import Address, unmapped, why_not_public
from gptoss_flow.sites.rules import KEY
from gptoss_flow.tools.browser.hosts import Where
from gptoss_flow.tools.browser.urls import Url, refused
from gptoss_flow.tools.thread import in_thread
from gptoss_flow.tools.workspace import refusal

MAX_ADDRESSES = 4
"""How many addresses of one name are tried, one after the other."""


async def _looked_up(host: str, port: int) -> Sequence[Address]:
    """Every address that this machine's resolver gives for a name. Raises `OSError`."""
    # A resolver may hang for long: its thread is not waited for where the call is cancelled.
    infos = await in_thread(lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), f"look-up-{host}")
    return [ip_address(str(info[4][0]).partition("%")[0]) for info in infos]


async def _connected(address: Address, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
    """A connection to an address, which is a literal: nothing is looked up again. Raises as httpcore does."""
    return await httpcore.AnyIOBackend().connect_tcp(str(address), port, timeout_s)


@cache
def _tls() -> ssl.SSLContext:
    """The authorities that certifi knows, and those of this machine."""
    context = httpcore.default_ssl_context()
    context.load_default_certs()
    return context


@dataclass(frozen=True, slots=True)
class Network:
    """How names are looked up and addresses dialled; tests bring their own."""

    look_up: Callable[[str, int], Awaitable[Sequence[Address]]] = _looked_up
    connect: Callable[[Address, int, float | None], Awaitable[httpcore.AsyncNetworkStream]] = _connected
    tls: Callable[[], ssl.SSLContext] = _tls


class Pinned(httpcore.AsyncNetworkBackend):
    """Dials for one URL. The name itself stays with TLS and the Host header. Close it."""

    def __init__(self, network: Network, url: Url, where: Where) -> None:
        self._network, self._url, self._where = network, url, where
        self._streams: list[httpcore.AsyncNetworkStream] = []

    async def aclose(self) -> None:
        """httpcore closes what it has, but for a connection whose TLS handshake is cut short."""
        for stream in self._streams:
            await stream.aclose()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        site = self._url.site
        assert (host, port) == (site.host, site.port)
        failed: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in await self._addresses():
            try:
                stream = await self._network.connect(address, port, timeout)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as failure:
                failed = failure
            else:
                self._streams.append(stream)
                return stream
        assert failed is not None
        raise failed

    async def _addresses(self) -> Sequence[Address]:
        site = self._url.site
        if site.address is not None:
            found: Sequence[Address] = [site.address]
        else:
            try:
                found = await self._network.look_up(site.host, site.port)
            except (OSError, UnicodeError) as failure:
                words = failure.strerror if isinstance(failure, OSError) else ""
                raise httpcore.ConnectError(f"the name {site.host} is not known: {words or failure}") from None
        if not found:
            raise refusal(f"the name {site.host} has no address")
        if self._where == "public":
            # One private address among public ones is no accident: none of them is dialled.
            for address in found:
                if why := why_not_public(address):
                    raise refused(self._url, f"{site.host} is at {address}, {why}; {_FIX}")
        return list(dict.fromkeys(map(unmapped, found)))[:MAX_ADDRESSES]


_FIX = f"only addresses on the internet are dialled, and others only as a literal with its port in {KEY}"
