"""Asks the person at the terminal whether a call of a tool is made. Nothing but a `y` is a yes."""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Literal, TextIO

from gptoss_flow.escape import one_line
from gptoss_flow.fields import json_text
from gptoss_flow.ports import Ask, Asking, nobody

TERMINAL = "/dev/tty"
MOST_SHOWN, MOST_LINES = 4000, 40
"""Characters and lines of an argument; what is longer is said to be, and how much. More lines would push the
rest out of sight."""
YES = ("y", "yes")


Still = Callable[[], AbstractContextManager[None]]
"""Lets whatever else writes to the terminal keep still for as long as it is entered."""


def terminal_ask(stderr: TextIO, still: Still = nullcontext) -> Ask:
    """Asks where standard error is a terminal that somebody sits at; elsewhere there is nobody to ask."""
    return _TerminalAsk(stderr, still) if stderr.isatty() else nobody


class _TerminalAsk:
    """One question at a time; what was typed before it was shown is no answer to it."""

    def __init__(self, stderr: TextIO, still: Still) -> None:
        self._stderr = stderr
        self._still = still
        self._turn = asyncio.Lock()

    async def __call__(self, asking: Asking) -> Literal["approved", "declined", "unasked"]:
        async with self._turn:
            with _terminal() as terminal, self._still():
                if terminal is None:
                    return "unasked"
                with suppress(termios.error):
                    termios.tcflush(terminal, termios.TCIFLUSH)
                self._say(question(asking))
                line = await _line(terminal)
                if not line.endswith(b"\n"):
                    self._say("\n")
                    return "declined" if os.isatty(terminal) else "unasked"
                return "approved" if line.decode(errors="replace").strip().lower() in YES else "declined"

    def _say(self, text: str) -> None:
        with suppress(OSError):
            self._stderr.write(text)
            self._stderr.flush()


def question(asking: Asking) -> str:
    """The call as it would be made, each line of a value behind a bar: no text in it can seem to be ours."""
    lines = [f"step {one_line(asking.step)} wants to call {one_line(asking.tool)}"]
    for name, value in asking.arguments.items():
        text = json_text(value)
        shown = "\n".join(text[:MOST_SHOWN].split("\n")[:MOST_LINES])
        more = [f"… and {len(text) - len(shown):,} characters more"] if len(text) > len(shown) else []
        lines.append(f"  {one_line(name)}:")
        lines += [f"  | {one_line(line)}" for line in [*shown.split("\n"), *more]]
    return "\n".join(lines) + f"\nmake this call of {one_line(asking.tool)}? [y/N] "


@contextmanager
def _terminal() -> Iterator[int | None]:
    """The terminal that the process belongs to; None where it has none."""
    try:
        terminal = os.open(TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield terminal
    finally:
        os.close(terminal)


async def _line(terminal: int) -> bytes:
    """What is typed up to a line's end; less where it ends before (Ctrl-D), or the terminal goes away."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    typed = bytearray()

    def readable() -> None:
        try:
            piece = os.read(terminal, 1024)
        except OSError:
            piece = b""
        typed.extend(piece)
        if not done.done() and (not piece or b"\n" in typed):
            done.set_result(bytes(typed.partition(b"\n")[0]) + (b"\n" if b"\n" in typed else b""))

    loop.add_reader(terminal, readable)
    try:
        return await done
    finally:
        loop.remove_reader(terminal)
