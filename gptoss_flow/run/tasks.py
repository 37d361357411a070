"""The tasks of a run: units at work, each with what is to be known when it ends. None outlives the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from gptoss_flow.errors import ExitCode
from gptoss_flow.events import Outcome
from gptoss_flow.plan.decisions import Unit
from gptoss_flow.run.known import Key

Work = Coroutine[Any, Any, tuple[Outcome, ExitCode]]
UnitTask = asyncio.Task[tuple[Outcome, ExitCode]]
Post = Callable[[Callable[[], None]], None]
"""Hands the loop what it is to do next: only the loop changes what the run knows of itself."""


@dataclass(frozen=True, slots=True)
class Running:
    """A unit at work, since when, by what its result may be known later, whether it is its fallback that runs."""

    unit: Unit
    began: float
    key: Key
    fallback: bool


class Tasks:
    """Units at work, in the order in which they were started."""

    def __init__(self, ended: Callable[[UnitTask], None]) -> None:
        """`ended` is called with each task that has ended, from the event loop."""
        self._ended = ended
        self._units: dict[UnitTask, Running] = {}
        self._timers: list[asyncio.Task[None]] = []

    def start(self, work: Work, running: Running) -> None:
        task = asyncio.create_task(work)
        self._units[task] = running
        task.add_done_callback(self._ended)

    def start_timer(self, work: Coroutine[Any, Any, None]) -> None:
        self._timers.append(asyncio.create_task(work))

    def of(self, task: UnitTask | None) -> Running | None:
        return self._units.get(task) if task else None

    def forget(self, task: UnitTask) -> None:
        del self._units[task]

    def current(self) -> Running:
        """The unit in whose task this is called."""
        task = asyncio.current_task()
        assert task is not None
        return self._units[task]

    def cancel(self, is_meant: Callable[[Unit], bool]) -> None:
        for task, running in self._units.items():
            if is_meant(running.unit) and not task.cancelling():
                task.cancel()

    def abandon(self) -> Iterator[Running]:
        """Forget each of them, those within a flow step before it."""
        for task, running in reversed([*self._units.items()]):
            del self._units[task]
            yield running

    async def end(self) -> None:
        tasks = [*self._units, *self._timers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
