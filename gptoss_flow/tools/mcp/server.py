"""One MCP server while a run uses it: started at its first use, asked for its tools, called, and ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from mcp.client.session import ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    Implementation,
    ListToolsRequest,
    ListToolsResult,
    PaginatedRequestParams,
)

from gptoss_flow.errors import FlowError, Invalid, Problem, StepError, Unavailable
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.tools.mcp.http import connected
from gptoss_flow.tools.mcp.link import Fault, Link
from gptoss_flow.tools.mcp.listing import (
    MAX_TOOLS,
    BadListingError,
    ListedTool,
    Listing,
    Pinned,
    changes,
    read_listing,
)
from gptoss_flow.tools.mcp.result import value_of
from gptoss_flow.tools.mcp.settings import ServerSettings
from gptoss_flow.tools.mcp.stdio import started

MAX_STARTS = 3
"""In one run: a server that dies again and again is left alone."""
MAX_SAID = 400

for _name in ("mcp", "client"):  # what the protocol's library has to say of a server is told as our own errors
    logging.getLogger(_name).addHandler(logging.NullHandler())

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Live:
    session: ClientSession
    fault: Fault
    task: asyncio.Task[None]
    leave: asyncio.Event


class McpServer:
    """A server of one run. `pinned`: what its tools have to be; None: whatever they are."""

    def __init__(
        self,
        settings: ServerSettings,
        environ: Mapping[str, str],
        *,
        pinned: Pinned | None = None,
        hint: str = "",
        version: str = "",
    ) -> None:
        """`hint` is what to do where they are not as pinned; `version` is ours, as the server is told it."""
        self.settings = settings
        self._environ = environ
        self._pinned, self._hint = pinned, hint
        self._us = Implementation(name="gptoss-flow", version=version or "0")
        self._live: _Live | None = None
        self._starting = asyncio.Lock()
        self._starts = 0
        self.listing = Listing({})
        """What it offers, once it has been started; of a server that is pinned, nothing else than that."""

    @property
    def name(self) -> str:
        return self.settings.name

    async def start(self) -> Listing:
        """What it offers. Raises `Unavailable`, and `Invalid` where that is not what was pinned."""
        async with self._starting:
            if self._live is not None and (self._live.fault.said or self._live.task.done()):
                await self._end()
            if self._live is None:
                if self._starts >= MAX_STARTS:
                    said = f"the tool server {self.name} has ended {MAX_STARTS} times: it is left alone"
                    raise Unavailable(said)
                self._starts += 1
                self._live = await self._started()
        return self.listing

    async def call(self, tool: str, arguments: Mapping[str, Json]) -> Json:
        """Raises `StepError`; what the tool itself calls an error is one of kind `tool`."""
        try:
            await self.start()
        except FlowError as error:
            raise StepError("tool", str(error), retryable=False, exit_code=error.exit_code) from None
        live, name = self._live, f"{self.name}.{tool}"
        assert live is not None
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=dict(arguments)))
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                result = await live.session.send_request(request, CallToolResult)
        except TimeoutError:
            said = f'tool "{name}" has not answered within {self.settings.timeout_s:g} s'
            raise StepError("timeout", said, unsure=True) from None
        except Exception as error:
            is_answer = isinstance(error, MCPError) and not live.fault.said
            said = f'tool "{name}": {_said(error, live.fault)}'
            raise StepError("tool", said, unsure=not is_answer) from None
        content = [block.model_dump(mode="json", by_alias=True) for block in result.content]
        return value_of(name, content, result.structured_content, is_error=result.is_error)

    async def aclose(self) -> None:
        """End it, and wait until it has ended. Safe to call twice."""
        self._starts = MAX_STARTS
        await self._end()

    async def _end(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.leave.set()
            with suppress(Exception):
                await live.task

    # --- the session has a task of its own, in which it is opened and closed ----------------------------------

    async def _started(self) -> _Live:
        ready: asyncio.Future[tuple[ClientSession, Fault]] = asyncio.get_running_loop().create_future()
        leave = asyncio.Event()
        task = asyncio.create_task(self._held_open(ready, leave), name=f"tool server {self.name}")
        try:
            waited: list[asyncio.Future[Any]] = [task, ready]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                await task  # raises why
                raise AssertionError("a session ended without a word")
            session, fault = ready.result()
            return _Live(session, fault, task, leave)
        except BaseException:
            task.cancel()
            with suppress(BaseException):
                await task
            raise

    async def _held_open(self, ready: asyncio.Future[tuple[ClientSession, Fault]], leave: asyncio.Event) -> None:
        fault = Fault()
        try:
            async with self._linked() as link:
                fault = link.fault
                async with ClientSession(link.incoming, link.outgoing, client_info=self._us) as session:
                    async with asyncio.timeout(self.settings.timeout_s):
                        await session.initialize()
                        self.listing = self._checked(await _list(session))
                    ready.set_result((session, fault))
                    await leave.wait()
        except Exception as error:
            first = _first(error)
            if ready.done():
                fault.say(_said(first, fault))  # whoever calls it now is told
            elif isinstance(first, FlowError):
                raise first from None
            elif isinstance(first, TimeoutError) and not fault.said:
                said = f"the tool server {self.name} has not answered within {self.settings.timeout_s:g} s"
                hint = "give it more with timeout, or see what it waits for"
                raise Unavailable(Problem(None, said, hint)) from None
            else:
                raise Unavailable(f"the tool server {self.name}: {_said(first, fault)}") from None

    def _linked(self) -> AbstractAsyncContextManager[Link]:
        return started(self.settings, self._environ) if self.settings.command else connected(self.settings)

    def _checked(self, said: list[tuple[str, str | None, Any]]) -> Listing:
        try:
            found = read_listing(self.name, said, self.settings.tools)
        except BadListingError as error:
            raise Unavailable(f"the tool server {self.name} is refused: {error}") from None
        if self._pinned is None:
            return found
        if apart := list(changes(self.name, self._pinned, found)):
            message = f"the tool server {self.name} is not what was pinned: {'; '.join(apart)}"
            raise Invalid(Problem(None, message, self._hint))
        new = {name: "it is not pinned" for name in found.tools if name not in self._pinned}
        kept: dict[str, ListedTool] = {name: found.tools[name] for name in self._pinned}
        return Listing(kept, {**found.refused, **new})


async def _list(session: ClientSession) -> list[tuple[str, str | None, Any]]:
    """Every page of its listing; of one that has no end, more than may be taken."""
    found: list[tuple[str, str | None, Any]] = []
    cursor: str | None = None
    while True:
        params = PaginatedRequestParams(cursor=cursor) if cursor else None
        page = await session.send_request(ListToolsRequest(params=params), ListToolsResult)
        found += [(tool.name, tool.description, tool.input_schema) for tool in page.tools]
        if page.next_cursor in (None, cursor) or not page.tools or len(found) > MAX_TOOLS:
            return found
        cursor = page.next_cursor


def _first(error: BaseException) -> BaseException:
    """What is inside of groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _said(error: BaseException, fault: Fault) -> str:
    if fault.said:
        return one_line(fault.said)
    if isinstance(error, MCPError):
        return (one_line(error.error.message[:MAX_SAID]) or f"error {error.error.code}") + fault.note
    said = str(error).partition("\n")[0]
    return one_line(f"it answers with what is no answer: {type(error).__name__}: {said[:MAX_SAID]}")
