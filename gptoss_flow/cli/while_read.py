"""Follows a log for as long as somebody reads what is printed of it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import select
import sys
from collections.abc import Coroutine
from typing import Any

LOOK_S = 0.5


async def while_read(printing: Coroutine[Any, Any, None]) -> None:
    """Do it to its end. Raises `BrokenPipeError` soon after the reader of standard output has left.

    That also shows where nothing comes to be printed.
    """
    poll = select.poll()
    with contextlib.suppress(io.UnsupportedOperation):
        poll.register(sys.stdout.fileno(), 0)  # that the other end is closed is told unasked
    task = asyncio.create_task(printing)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_S)
            if poll.poll(0) and not task.done():
                raise BrokenPipeError
        task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokenPipeError):
            await task
