"""Starts a guardian and talks to it: a `Lease` is one user's connection, which ends with its user."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json
from gptoss_flow.fields import duration_text
from gptoss_flow.server.registry import private_folder

T = TypeVar("T")

GUARDIAN = "import sys; sys.path.append(sys.argv[1]); from gptoss_flow.server.guardian.main import main; main()"
"""Imported and not run as a file: then its compiled form is used, which saves a third of its start."""
ROOT = str(Path(__file__).parents[2])
ANSWER_S = 10.0
"""How long a guardian may take to say its first word on a busy machine."""
SOCKET_PATH_MAX = 100
"""What fits into a unix socket's address everywhere (104 bytes on macOS, 108 on Linux)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a guardian is to run and to keep; `record` is what it writes down, `env` is all that it has."""

    argv: list[str]
    env: Mapping[str, str] = field(repr=False)
    stdin: str = field(default="", repr=False)
    folder: Path
    socket: Path
    log: Path
    log_max_bytes: int
    log_mark: str
    """The first line of this start in the log."""
    idle_timeout_s: float
    keepalive: Mapping[str, Json] | None = None
    """See `guardian.keepalive.Wanted`."""
    term_again_s: float = 5.0
    kill_s: float = 2.0
    """How long after the second SIGTERM comes SIGKILL; the second comes `term_again_s` after the first."""
    record: Mapping[str, Json]

    def line(self) -> bytes:
        spec = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(spec, default=str).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Kept:
    """What a guardian says that it keeps."""

    nonce: str
    guardian_pid: int
    pid: int
    state: Literal["loading", "ready", "stopping"]
    users: int
    facts: Mapping[str, Json]
    keepalive: Mapping[str, Json] = field(default_factory=dict)
    """As `guardian.keepalive.Keepalive.told` says."""
    stops_in_s: float | None = None
    """When it stops by itself; None where it is not idle, or stays."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The server is no more. `exit`: its exit code, minus the signal that ended it, None if the guardian died."""

    exit: int | None
    asked: bool
    """True if somebody, or the idle timeout, had it stopped."""
    why: str = ""
    """Why it was killed, by a user who found that it hangs."""


class Lease:
    """A connection to a guardian. As long as it is open its owner counts as a user of the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, guardian: int | None) -> None:
        loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._guardian = guardian
        self._first: asyncio.Future[Kept] = loop.create_future()
        self._news: asyncio.Future[Kept] | None = None
        self._released: asyncio.Future[bool] = loop.create_future()
        self.stays = ""
        """Why the server stays that we have released."""
        self.ready: asyncio.Future[Mapping[str, Json]] = loop.create_future()
        """Set when whoever watches over the start has proved the server: its facts."""
        self.lead: asyncio.Future[None] = loop.create_future()
        """Set when watching over the start falls to this user."""
        self.gone: asyncio.Future[Gone] = loop.create_future()
        self.kept: Kept
        self._pump_task = asyncio.create_task(self._pump())

    @classmethod
    async def start(cls, job: Job) -> Lease:
        """Start a guardian with this job and become its first user. Raises `Unavailable`."""
        ours, theirs = socket.socketpair()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with theirs:
            pid = os.posix_spawn(  # noqa: ASYNC221  returns at once; the wait is for the first message
                sys.executable,
                [sys.executable, "-I", "-S", "-c", GUARDIAN, ROOT],
                {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
                # An end of a socket pair that the guardian inherits: no moment in which it has no user.
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_OPEN, 2, str(job.folder / "guardian.log"), flags, 0o600),
                ],
                setsid=True,
                setsigmask=(),
            )
        return await cls._greet(ours, job.line(), pid)

    @classmethod
    async def attach(
        cls, path: Path, idle_timeout_s: float, keepalive: Mapping[str, Json] | None = None
    ) -> Lease | None:
        """Become a user of the guardian that listens at `path`; None where nobody does (or no longer)."""
        return await cls._connect(path, {"op": "hold", "idle_timeout_s": idle_timeout_s, "keepalive": keepalive})

    @classmethod
    async def look(cls, path: Path) -> Lease | None:
        """Ask the guardian at `path` what it keeps without becoming a user; None where there is none."""
        return await cls._connect(path, {"op": "who"})

    @classmethod
    async def _connect(cls, path: Path, hello: Mapping[str, Json]) -> Lease | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, str(path))
        except OSError:
            sock.close()
            return None
        except BaseException:
            sock.close()
            raise
        try:
            return await cls._greet(sock, json.dumps(hello).encode() + b"\n", None)
        except Unavailable:
            return None

    @classmethod
    async def _greet(cls, sock: socket.socket, line: bytes, guardian: int | None) -> Lease:
        reader, writer = await asyncio.open_connection(sock=sock, limit=1 << 20)
        lease = cls(reader, writer, guardian)
        try:
            lease._writer.write(line)
            lease.kept = await asyncio.wait_for(asyncio.shield(lease._first), ANSWER_S)
        except TimeoutError:
            await lease.close()
            raise Unavailable("the server's guardian process gave no answer") from None
        except BaseException:
            await lease.close()
            raise
        return lease

    async def _pump(self) -> None:
        gone, hung_up = Gone(None, asked=False), False
        try:
            while line := await self._reader.readline():
                message = json.loads(line)
                match message.pop("say"):
                    case "server":
                        lead, state, facts = message.pop("lead"), message["state"], message["facts"]
                        if lead:
                            _set(self.lead, None)
                        if state == "ready":
                            _set(self.ready, facts)
                        kept = Kept(**{name: message[name] for name in Kept.__slots__ if name in message})
                        _set(self._first, kept)
                        if self._news is not None:
                            _set(self._news, kept)
                    case "lead":
                        _set(self.lead, None)
                    case "ready":
                        _set(self.ready, message["facts"])
                    case "kept":
                        self.stays = _stays(message.get("users", 0), message.get("idle_timeout_s", -1.0))
                        _set(self._released, True)
                    case "stopping":
                        _set(self._released, False)
                    case "gone":
                        gone = Gone(message["exit"], message["asked"], message.get("why", ""))
                    case "failed" if not self._first.done():
                        self._first.set_exception(
                            Unavailable(f"the server could not be started: {message['why']}")
                        )
            hung_up = True
        except (OSError, ValueError):
            hung_up = True
        finally:
            if not self._first.done():
                self._first.set_exception(Unavailable("the server's guardian process ended before it said a word"))
                self._first.exception()
            if hung_up:
                await self._reap()
            _set(self.gone, gone)

    async def _reap(self) -> None:
        """Take the exit status of a guardian that we started and that has closed its connection."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None:
            await asyncio.to_thread(_await_end, guardian)

    def tell_ready(self, facts: Mapping[str, Json]) -> None:
        """The server answers and is proved: every user may use it."""
        self._tell({"op": "ready", "facts": facts})

    def pause(self) -> None:
        """Requests run, or something is measured: the server is not to be touched until `resume`."""
        self._tell({"op": "pause"})

    def resume(self) -> None:
        self._tell({"op": "resume"})

    async def keep_alive(self, every_s: float, max_tokens: int) -> Kept:
        """From now on, touch the server so often while it is idle; 0: no more. Raises `Unavailable`."""
        self._news = asyncio.get_running_loop().create_future()
        self._tell({"op": "keepalive", "every_s": every_s, "max_tokens": max_tokens})
        await first_done(self._news, self.gone, timeout_s=ANSWER_S)
        if not self._news.done():
            raise Unavailable("the server's guardian process gave no answer")
        return self._news.result()

    async def release(self, timeout_s: float, on_stopping: Callable[[], None] = lambda: None) -> bool:
        """Stop being a user. True if the server is gone after that, False if it stays."""
        try:
            self._tell({"op": "release"})
            await first_done(self._released, self.gone, timeout_s=timeout_s)
            if not self.gone.done() and not (self._released.done() and self._released.result()):
                on_stopping()
                await asyncio.wait({self.gone}, timeout=timeout_s)
            return self.gone.done()
        finally:
            await self.close()

    async def kill(self, why: str, timeout_s: float) -> bool:
        """Have a server killed that hangs. True once it is gone, False if that took too long."""
        self._tell({"op": "kill", "why": why})
        await asyncio.wait({self.gone}, timeout=timeout_s)
        return self.gone.done()

    async def stop(self, timeout_s: float) -> bool:
        """Have the server stopped, whoever uses it. True once it is gone, False if that took too long."""
        try:
            self._tell({"op": "stop"})
            await asyncio.wait({self.gone}, timeout=timeout_s)
            return self.gone.done()
        finally:
            await self.close()

    async def close(self) -> None:
        """Hang up; safe to call twice."""
        self._pump_task.cancel()
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        with contextlib.suppress(asyncio.CancelledError):
            await self._pump_task
        for future in (self.ready, self.lead, self._first, self._released):
            future.cancel()
        guardian, self._guardian = self._guardian, None
        if guardian is not None:  # it stays for others; when it ends at last, it is to leave no zombie
            threading.Thread(target=_await_end, args=(guardian,), name="guardian", daemon=True).start()

    def _tell(self, message: Mapping[str, Json]) -> None:
        self._writer.write(json.dumps(message).encode() + b"\n")


def _await_end(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _stays(users: int, idle_timeout_s: float) -> str:
    if users:
        return f"it stays: {users} other user{'' if users == 1 else 's'} of it"
    return (
        "it stays until it is stopped" if idle_timeout_s == -1 else f"it stays for {duration_text(idle_timeout_s)}"
    )


async def first_done(*futures: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    """Wait until one of them is done, or the time is over; cancels none."""
    await asyncio.wait(futures, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)


def socket_path(folder: Path, nonce: str) -> Path:
    """Where the guardian of this folder listens: in the folder, or where its path is too long in a private one."""
    natural = folder / "guardian.sock"
    if len(os.fsencode(natural)) <= SOCKET_PATH_MAX:
        return natural
    private = private_folder(nonce)
    private.mkdir(mode=0o700)
    return private / "guardian.sock"


def _set(future: asyncio.Future[T], value: T) -> None:
    if not future.done():
        future.set_result(value)
