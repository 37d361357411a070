"""A clock that moves only when told, so that tests of waiting do not wait."""

from __future__ import annotations

import asyncio
import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """`ports.Clock` under a test's control: a `sleep` ends when `advance` has moved the clock past its time."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed_s = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    def monotonic(self) -> float:
        return self._elapsed_s

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    async def sleep(self, seconds: float) -> None:
        """Like `asyncio.sleep`: zero or less only lets the others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed_s + seconds, next(self._order), woken))
        self._changed.set()
        await woken

    @property
    def sleepers(self) -> int:
        """How many tasks sleep."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move the clock and wake who is due, the earliest first; they run when the caller next awaits."""
        self._elapsed_s += seconds
        while self._sleepers and self._sleepers[0][0] <= self._elapsed_s:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)

    async def until_sleeping(self, tasks: int = 1) -> None:
        """Wait until that many tasks sleep: only then is it sure what `advance` will wake."""
        while self.sleepers < tasks:
            self._changed.clear()
            await self._changed.wait()
