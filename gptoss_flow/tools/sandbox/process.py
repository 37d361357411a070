"""Runs a program in a sandbox: starts it, bounds what it says and how long it takes, and leaves nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import re
import signal
import struct
from dataclasses import asdict
from typing import Any

from gptoss_flow.errors import Problem, StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.sandbox.job import Ended, Job, Kind, Launch, LimitName, unavailable
from gptoss_flow.tools.workspace import refusal

HEADER = struct.Struct(">cI")
FRAME_BYTES = 65536
"""The longest frame that a warden sends; a longer one is no warden's."""
NICE = 5
GRACE_S, GONE_S = 0.5, 5.0
COMPLAINT_BYTES = 4096
LIMIT_NAMES: tuple[LimitName, ...] = ("memory", "processes", "cpu", "disk", "output")
SIGXCPU, SIGXFSZ = 24, 25


class Kept:
    """The beginning and the end of a text, as bytes, up to a number of them."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, data: bytes) -> None:
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if (over := len(self._tail) - self._half) > 0:
            del self._tail[:over]
            self._left_out += over

    @property
    def truncated(self) -> bool:
        return self._left_out > 0

    def text(self) -> str:
        if not self._left_out:
            return (self._head + self._tail).decode("utf-8", "replace")
        head, tail = (part.decode("utf-8", "replace") for part in (self._head, self._tail))
        return f"{head}\n… {self._left_out} bytes left out …\n{tail}"


class Process:
    """A program in a sandbox while it runs."""

    def __init__(self, process: asyncio.subprocess.Process, launch: Launch) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process = process
        self._launch = launch
        self._in, self._out, self._err = process.stdin, process.stdout, process.stderr
        self._complaints = asyncio.create_task(_head(self._err))
        self._ending: asyncio.Task[None] | None = None
        self._handle = _handle(process.pid)
        self.began = False

    @classmethod
    async def start(cls, kind: Kind, job: Job) -> Process:
        """Raises `StepError`. The program may not run yet when this returns."""
        launch = await _launched(kind, job)
        try:
            process = await asyncio.create_subprocess_exec(
                *launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=launch.pass_fds,
                env=dict(launch.env),
                cwd="/",
                start_new_session=True,  # Ctrl-C is ours to act on.
            )
        except OSError as error:
            why = f"no sandbox for tool code: {launch.argv[0]} cannot be run: {error.strerror}"
            raise unavailable(Problem(None, why)) from None
        finally:
            for descriptor in launch.pass_fds:
                os.close(descriptor)
        started = cls(process, launch)
        started._send(b"s", marshal.dumps(_spec(job, launch), 2))
        return started

    def write(self, data: bytes) -> None:
        """Input for the program."""
        self._send(b"i", data)

    def close_input(self) -> None:
        self._send(b"c", b"")

    def _send(self, letter: bytes, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self._in.write(HEADER.pack(letter, len(data)) + data)

    async def frame(self) -> tuple[bytes, bytes]:
        """What the warden says next; `x` is its last word. Raises `StepError` where there was no sandbox."""
        while True:
            try:
                letter, length = HEADER.unpack(await self._out.readexactly(HEADER.size))
                if length > FRAME_BYTES:
                    raise ValueError
                data = await self._out.readexactly(length)
            except (asyncio.IncompleteReadError, ValueError, OSError):
                raise await self._failed() from None
            if letter != b"b":
                return letter, data
            self.began = True

    async def _failed(self) -> StepError:
        """It ended without a last word."""
        await self.end()
        said = (await self._complaints).decode("utf-8", "replace").strip().splitlines()
        why = one_line(said[-1] if said else "it was killed")
        if self.began:
            return StepError("tool", f"the sandbox ended before its program did: {why}", unsure=True)
        return unavailable(Problem(None, f"no sandbox for tool code: {why}"))

    async def end(self) -> None:
        """Everything is gone when this returns, however often it is cancelled meanwhile."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._in.close()
        if not self._launch.own_processes:
            # No namespace ends what the program started: its warden does, once it hears that we are gone.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._drained()
        self._kill()
        if self._launch.end:
            killer = await asyncio.create_subprocess_exec(
                *self._launch.end,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            await killer.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                await self._drained()
        await self._process.wait()
        self._complaints.cancel()

    async def _drained(self) -> None:
        """The pipes end when the last process that has them does."""
        while await self._out.read(FRAME_BYTES):
            pass
        await asyncio.shield(self._complaints)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._handle is not None:
                signal.pidfd_send_signal(self._handle, signal.SIGKILL)
                os.close(self._handle)
            elif self._process.returncode is None:
                self._process.kill()


async def _launched(kind: Kind, job: Job) -> Launch:
    """What it opens for the sandbox is closed where nobody waits for it any more."""
    task = asyncio.ensure_future(asyncio.to_thread(kind.launch, job))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_again)
        raise


def _close_again(task: asyncio.Future[Launch]) -> None:
    if not task.cancelled() and task.exception() is None:
        for descriptor in task.result().pass_fds:
            os.close(descriptor)


def _handle(pid: int) -> int | None:
    """What the process can be killed by when its number may be another's already; None where there is no such."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


async def _head(stream: asyncio.StreamReader) -> bytes:
    """The first bytes of it; the rest is read too, so that nobody waits."""
    kept = b""
    while data := await stream.read(FRAME_BYTES):
        kept += data[: COMPLAINT_BYTES - len(kept)]
    return kept


def _spec(job: Job, launch: Launch) -> dict[str, Any]:
    return {
        "argv": list(job.argv),
        "env": {**launch.base_env, **job.env},
        "folder": launch.folder,
        "limits": asdict(job.limits),
        "replies": job.replies,
        "own_processes": launch.own_processes,
        "counts_processes": launch.counts_processes,
        "nice": NICE,
        "same": list(launch.same),
    }


def last_word(data: bytes) -> tuple[int | None, LimitName | None]:
    """Exit code and limit from a warden's last frame. Raises `StepError` where the program could not be run."""
    word, _, what = data.decode("utf-8", "replace").partition(" ")
    number = int(what) if re.fullmatch("[0-9]{1,3}", what) else None
    if word == "exit" and number is not None:
        return number, None
    if word == "signal" and number is not None:
        return 128 + number, "cpu" if number == SIGXCPU else "disk" if number == SIGXFSZ else None
    if word == "limit" and what in LIMIT_NAMES:
        return None, what
    if word == "error":
        raise refusal(f"the program cannot be run: {one_line(what)}")
    raise StepError("tool", "the sandbox ended with no word that can be understood", unsure=True)


async def run(kind: Kind, job: Job, *, timeout_s: float, keep_bytes: int, stdin: bytes = b"") -> Ended:
    """Run a program to its end, or to the end of its time or of a limit. Raises `StepError` where it could not."""
    process = await Process.start(kind, job)
    outputs = {b"o": Kept(keep_bytes), b"e": Kept(keep_bytes)}
    code: int | None = None
    limit: LimitName | None = None
    timed_out, said = False, 0
    try:
        if stdin:
            process.write(stdin)
        process.close_input()
        try:
            async with asyncio.timeout(timeout_s):
                while limit is None:
                    letter, data = await process.frame()
                    if letter == b"x":
                        code, limit = last_word(data)
                        break
                    if letter in outputs:
                        outputs[letter].add(data)
                        said += len(data)
                        limit = "output" if said > job.limits.output_bytes else None
        except TimeoutError:
            timed_out = True
    finally:
        await process.end()
    out, err = outputs.values()
    return Ended(code, out.text(), err.text(), out.truncated or err.truncated, timed_out, limit)
