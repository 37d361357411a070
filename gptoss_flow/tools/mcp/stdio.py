"""A tool server that we start: JSON-RPC by lines over its standard input and output, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import (
    JSONRPCError,
    JSONRPCRequest,
    JSONRPCResponse,
    jsonrpc_message_adapter,
)

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.escape import one_line
from gptoss_flow.tools.mcp import keeper
from gptoss_flow.tools.mcp.link import Fault, Link
from gptoss_flow.tools.mcp.settings import ServerSettings, environment, executable

MAX_MESSAGE = 4 << 20
MAX_JUNK = 1000
"""Lines that are no messages, such as logs of a server that does not know where they belong."""
MAX_UNASKED = 10_000
"""Messages between two answers: whoever sends more is flooding us."""
MAX_SAID = 8192
"""How much of the end of standard error is kept."""
LEAVE_S = 2.0
"""What a server has to end by itself, once its input has ended."""


@asynccontextmanager
async def started(settings: ServerSettings, environ: Mapping[str, str]) -> AsyncIterator[Link]:
    """The server's process, spoken to; on leaving, it and all that it has started are ended.

    Raises `Invalid` and `Unavailable` where it can't be started.
    """
    env = environment(settings, environ)
    program = executable(settings, env)
    if not settings.cwd.is_dir():
        raise Unavailable(f"the tool server {settings.name} cannot be started: there is no folder {settings.cwd}")
    held, lifeline = os.pipe()  # the keeper reads it, nobody writes: where it ends, we are gone
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", keeper.__file__, str(held), program, *settings.command[1:],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=env, cwd=settings.cwd, pass_fds=(held,), start_new_session=True, limit=MAX_MESSAGE,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        os.close(lifeline)
        said = getattr(error, "strerror", None) or str(error)
        raise Unavailable(Problem(None, f"the tool server {settings.name} cannot be started: {said}")) from None
    finally:
        os.close(held)
    try:
        async with _spoken_to(process, Path(program).name) as link:
            yield link
    finally:
        await _leave(process, lifeline)


@asynccontextmanager
async def _spoken_to(process: asyncio.subprocess.Process, program: str) -> AsyncIterator[Link]:
    to_us, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, to_server = anyio.create_memory_object_stream[SessionMessage](0)
    fault, said = Fault(), _Said()
    wire = _Wire(process, fault, said, program)
    tasks = [
        asyncio.create_task(wire.read(to_us)),
        asyncio.create_task(wire.write(to_server, to_us)),
        asyncio.create_task(wire.listen()),
    ]
    try:
        yield Link(incoming, outgoing, fault)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for stream in (to_us, incoming, outgoing, to_server):
            stream.close()


class _Said:
    """The end of what was written to standard error, by lines."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=20)

    def add(self, data: bytes) -> None:
        self.lines.extend(line for line in data.decode("utf-8", "replace").split("\n") if line.strip())

    @property
    def last(self) -> str:
        return one_line(self.lines[-1][-400:]) if self.lines else ""


class _Wire:
    """Both directions of one process, and what is wrong with what it sends."""

    def __init__(self, process: asyncio.subprocess.Process, fault: Fault, said: _Said, program: str) -> None:
        self._process, self._fault, self._said, self._program = process, fault, said, program
        self._asked: set[Any] = set()
        self._junk = self._unasked = 0

    async def read(self, to_us: Any) -> None:
        """Every message to `to_us`, which is closed at the first thing that is not to be borne."""
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            async with to_us:
                while not self._fault.said:
                    try:
                        line = await stdout.readline()
                    except ValueError:
                        self._fault.say(f"it sends a message of more than {MAX_MESSAGE >> 20} MiB")
                        return
                    if not line:
                        await self._ended()
                        return
                    if (message := self._message(line)) is not None:
                        await to_us.send(SessionMessage(message))

    async def write(self, to_server: Any, to_us: Any) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async for sent in to_server:
                message = sent.message
                if isinstance(message, JSONRPCRequest):
                    self._asked.add(message.id)
                    self._unasked = 0
                text = message.model_dump_json(by_alias=True, exclude_unset=True)
                stdin.write(text.encode("utf-8", "replace") + b"\n")
                await stdin.drain()
        except (OSError, anyio.ClosedResourceError):
            await self._ended()
            to_us.close()

    async def listen(self) -> None:
        """Standard error: whatever a server complains of, only the end of it is kept."""
        stderr = self._process.stderr
        assert stderr is not None
        while data := await stderr.read(MAX_SAID):
            self._said.add(data)

    def _message(self, line: bytes) -> Any:
        """The message in a line; None for what is none. What is no fault of a log's is noted as the server's."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            data = None
        if not isinstance(data, dict) or "jsonrpc" not in data:
            self._junk += 1
            if self._junk > MAX_JUNK:
                self._fault.say(f"it has written {MAX_JUNK:,} lines that are no messages")
            return None
        try:
            message = jsonrpc_message_adapter.validate_python(data, by_name=False)
        except (ValueError, RecursionError):
            self._fault.say(f"it sends what is no JSON-RPC: {one_line(line[:80].decode('utf-8', 'replace'))}")
            return None
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            if message.id is not None and message.id not in self._asked:
                self._fault.say(f"it answers a request that was never made ({one_line(str(message.id)[:40])})")
                return None
            self._unasked = 0
        else:
            self._unasked += 1
            if self._unasked > MAX_UNASKED:
                self._fault.say(f"it has sent {MAX_UNASKED:,} messages that nobody asked for")
                return None
        return message

    async def _ended(self) -> None:
        if self._fault.said:
            return
        with contextlib.suppress(TimeoutError):  # its output has ended, so will it: what it said is worth having
            async with asyncio.timeout(LEAVE_S):
                code = await self._process.wait()
                last = f": {self._said.last}" if self._said.last else ""
                self._fault.say(f"{self._program} ended with code {code}{last}")
                return
        self._fault.say(f"{self._program} closed its output")


async def _leave(process: asyncio.subprocess.Process, lifeline: int) -> None:
    """As the protocol has it: its input ends, it gets a moment, then it is ended. No cancellation hurries that."""

    async def end() -> None:
        nonlocal lifeline
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
        drains = [asyncio.create_task(_drained(stream)) for stream in (process.stdout, process.stderr)]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await process.wait()
            os.close(lifeline)
            lifeline = -1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * keeper.GRACE_S + LEAVE_S):
                    await process.wait()
        finally:
            if lifeline >= 0:
                os.close(lifeline)
            for drain in drains:
                drain.cancel()
            await asyncio.wait(drains)
            if process.returncode is None:
                with contextlib.suppress(OSError):
                    process.kill()
            # A process that got away may hold the pipes: what is left of ours is closed in any case.
            process._transport.close()  # type: ignore[attr-defined]

    task = asyncio.create_task(end())
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    await task


async def _drained(stream: asyncio.StreamReader | None) -> None:
    """A process that is stuck writing cannot read that it is to end."""
    with contextlib.suppress(ValueError, OSError, RuntimeError):
        while stream is not None and await stream.read(65536):
            pass
