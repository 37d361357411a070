"""Makes requests come as a load says, and measures how late it was itself: when which request is sent."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from gptoss_flow.bench.stats import percentile
from gptoss_flow.events import Json

Phase = Literal["warmup", "measured", "cooldown"]

TICK_S = 0.01
MAX_REQUESTS = 100_000
MAX_AT_ONCE = 1000
GIVE_UP_AFTER = 10
"""So many failures in a row from the beginning, and no success: the trial is over."""
AFTER_FAILURE_S = 0.05
"""The wait after a failure of one that asks in turn: a server that refuses all is not asked without end."""
LATE_S, LATE_SHARE = 0.002, 0.02
"""A lag matters from 2 ms on, if that is 2 % of what is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many requests, or for how long."""

    warmup: int
    requests: int | None
    duration_s: float | None
    cooldown: int | None
    """At most; None: until the last measured one has ended."""


@dataclass(slots=True)
class Shot:
    """One request: `due` is when it was to be sent. Times are `time.perf_counter()`."""

    number: int
    phase: Phase
    due: float
    failed: bool = False
    ended: bool = False


Ask = Callable[[Shot], Awaitable[bool]]
"""Sends a request and waits for its answer: whether it succeeded."""


@dataclass(slots=True)
class Driven:
    shots: list[Shot] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    """By how many seconds the event loop was late, each 10 ms."""
    capped: bool = False
    """More requests would have had to run at once than are allowed."""


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """When requests come, in seconds from the beginning: a Poisson process, the same for the same seed."""
    draw, at = random.Random(f"arrivals {seed}"), 0.0
    while True:
        yield at
        at += draw.expovariate(rate)


class Driver:
    """One trial's requests on their way."""

    def __init__(self, amounts: Amounts, ask: Ask) -> None:
        self._amounts = amounts
        self._ask = ask
        self.driven = Driven()
        self._measured_from: float | None = None
        self._measured = 0
        self._open = 0
        """Measured requests that have not ended."""
        self._cooling = 0
        self._successes = self._failures = 0
        self._over = asyncio.Event()

    async def closed(self, concurrency: int) -> Driven:
        """Each of so many asks again as soon as it is answered."""
        return await self._drive([self._in_turn() for _ in range(concurrency)])

    async def open(self, rate: float, seed: int) -> Driven:
        """Requests come when they come."""
        return await self._drive([self._as_they_come(rate, seed)])

    async def _drive(self, workers: list[Awaitable[None]]) -> Driven:
        tasks = [asyncio.ensure_future(worker) for worker in workers]
        ticker = asyncio.create_task(self._tick())
        over = asyncio.create_task(self._over.wait())
        ended = asyncio.create_task(asyncio.wait(tasks))
        every: list[asyncio.Future[Any]] = [*tasks, ticker, over, ended]
        try:
            await asyncio.wait({over, ended}, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for each in every:
                each.cancel()
            await asyncio.gather(*every, return_exceptions=True)
        return self.driven

    async def _in_turn(self) -> None:
        while (shot := self._next(time.perf_counter())) is not None:
            await self._shoot(shot)
            if shot.failed and self._amounts.duration_s is not None:
                await asyncio.sleep(AFTER_FAILURE_S)

    async def _as_they_come(self, rate: float, seed: int) -> None:
        began = time.perf_counter()
        flying: set[asyncio.Task[None]] = set()
        try:
            for after_s in arrivals(rate, seed):
                due = began + after_s
                if (wait_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                if len(flying) >= MAX_AT_ONCE:
                    self.driven.capped = True
                    await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                shot = self._next(due)
                if shot is None:
                    break
                task = asyncio.create_task(self._shoot(shot))
                flying.add(task)
                task.add_done_callback(flying.discard)
            if flying:
                await asyncio.wait(flying)
        finally:
            left = [*flying]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _next(self, due: float) -> Shot | None:
        """The next request, if there is to be one."""
        phase = self._phase(due)
        number = len(self.driven.shots)
        if phase is None or number >= MAX_REQUESTS or self._over.is_set():
            return None
        if phase == "measured":
            self._measured += 1
            self._open += 1
            if self._measured_from is None:
                self._measured_from = due
        elif phase == "cooldown":
            self._cooling += 1
        shot = Shot(number, phase, due)
        self.driven.shots.append(shot)
        return shot

    def _phase(self, due: float) -> Phase | None:
        amounts = self._amounts
        if len(self.driven.shots) < amounts.warmup:
            return "warmup"
        if not self._is_enough(due):
            return "measured"
        if self._open and (amounts.cooldown is None or self._cooling < amounts.cooldown):
            return "cooldown"
        return None

    def _is_enough(self, due: float) -> bool:
        if self._amounts.requests is not None:
            return self._measured >= self._amounts.requests
        assert self._amounts.duration_s is not None
        return self._measured_from is not None and due - self._measured_from >= self._amounts.duration_s

    async def _shoot(self, shot: Shot) -> None:
        succeeded = await self._ask(shot)
        shot.ended, shot.failed = True, not succeeded
        self._successes += succeeded
        self._failures += not succeeded
        if shot.phase == "measured":
            self._open -= 1
            if not self._open and self._is_enough(time.perf_counter()):
                self._over.set()
        if not self._successes and self._failures >= GIVE_UP_AFTER:
            self._over.set()

    async def _tick(self) -> None:
        while True:
            due = time.perf_counter() + TICK_S
            await asyncio.sleep(TICK_S)
            self.driven.late.append(time.perf_counter() - due)


def lag_of(driven: Driven, sent: dict[int, float], is_open: bool, ttft_s: float | None) -> dict[str, Json]:
    """How late the load generator was: at its own ticks and, where requests have a due time, at sending them.

    `mattered`: the lag is more than 2 ms and 2 % of the median time to the first token.
    """
    late = sorted(driven.late)
    if is_open:
        late = sorted([*late, *(sent[s.number] - s.due for s in driven.shots if s.number in sent)])
    if not late:
        return {"p50": 0.0, "p95": 0.0, "max": 0.0, "mattered": False, "said": ""}
    found = {"p50": percentile(late, 0.5), "p95": percentile(late, 0.95), "max": late[-1]}
    mattered = found["p95"] > max(LATE_S, LATE_SHARE * (ttft_s or 0.0))
    said = (
        f"the load generator itself was late: {found['p95'] * 1000:.1f} ms at the 95th percentile"
        if mattered
        else ""
    )
    if driven.capped:
        mattered, said = True, f"more than {MAX_AT_ONCE} requests would have had to run at once: some came late"
    return {**{name: round(value, 6) for name, value in found.items()}, "mattered": mattered, "said": said}
