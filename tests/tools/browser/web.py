"""A web on loopback: names and addresses are made up, what is dialled is written down, the HTTP is real."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpcore

from gptoss_flow.ports import Grants, ToolContext
from gptoss_flow.sites.addresses import Address
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.browser.dial import Network

PUBLIC = "93.184.216.34"

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


def said(body: str | bytes, kind: str = "text/html; charset=utf-8", status: int = 200, **headers: str) -> bytes:
    """A whole answer."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


def moved(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


@dataclass
class Web:
    """`names`: what each look-up of a name answers, the last one for good. `pages`: by path."""

    pages: dict[str, bytes | Serve] = field(default_factory=dict)
    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)
    """The head and what had come of the body of each request."""
    dead: set[str] = field(default_factory=set)
    """Addresses at which nobody listens."""
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def site(self) -> str:
        """The literal address that a flow may grant."""
        return f"127.0.0.1:{self.port}"

    @property
    def network(self) -> Network:
        tls = self.tls
        return (
            Network(self._look_up, self._connect)
            if tls is None
            else Network(self._look_up, self._connect, lambda: tls)
        )

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        self.looked_up.append(host)
        answers = self.names.get(host, [[PUBLIC]])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(each) for each in answer]

    async def _connect(self, address: Address, port: int, timeout_s: float | None) -> httpcore.AsyncNetworkStream:
        """Whatever the address, what answers is here."""
        self.dialled.append((str(address), port))
        if str(address) in self.dead:
            raise httpcore.ConnectError("refused")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout_s)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length:")
                    ),
                    0,
                )
                self.asked.append(head + await reader.readexactly(length))
                page = self.pages.get(head.split(b" ")[1].decode(), said("nothing here", status=404))
                if isinstance(page, bytes):
                    writer.write(page)
                    await writer.drain()
                else:
                    await page(writer)
        finally:
            writer.close()

    def call(
        self, tool: str, hosts: Sequence[str] = (), context: ToolContext | None = None, **given: Any
    ) -> Awaitable[Any]:
        """Call a tool within this web."""
        return TOOLS[tool].call(given, context or self.context(hosts))

    def context(self, hosts: Sequence[str] = ()) -> ToolContext:
        context = ToolContext(workspace=Path("/nowhere"), grants=Grants(hosts=tuple(hosts)))
        context.kept.get("network", lambda: self.network)
        return context


@asynccontextmanager
async def web(
    pages: Mapping[str, bytes | Serve] | None = None,
    names: Mapping[str, list[Sequence[str]]] | None = None,
    serving: ssl.SSLContext | None = None,
    trusting: ssl.SSLContext | None = None,
) -> AsyncIterator[Web]:
    made = Web(dict(pages or {}), dict(names or {}), tls=trusting)
    tasks = set[asyncio.Task[None]]()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(made.serve(reader, writer))
        tasks.add(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=serving)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
