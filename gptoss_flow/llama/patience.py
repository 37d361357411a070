"""A limit on silence that counts only the time in which this process could have heard something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLICE_S = 1.0


@asynccontextmanager
async def silence_limit(limit_s: float) -> AsyncIterator[None]:
    """Raises `TimeoutError` after so many seconds, those in which the process was suspended left out.

    A limit by the clock would strike at once when a suspended process goes on, before it reads what has come.
    """
    loop = asyncio.get_running_loop()
    slice_s = min(SLICE_S, limit_s / 8)
    waited_s, looked = 0.0, loop.time()
    timer: asyncio.TimerHandle
    async with asyncio.timeout(None) as limit:

        def look() -> None:
            nonlocal waited_s, looked, timer
            now = loop.time()
            waited_s, looked = waited_s + min(now - looked, 2 * slice_s), now
            if waited_s >= limit_s:
                limit.reschedule(now)
            else:
                timer = loop.call_later(min(slice_s, limit_s - waited_s), look)

        timer = loop.call_later(slice_s, look)
        try:
            yield
        finally:
            timer.cancel()
