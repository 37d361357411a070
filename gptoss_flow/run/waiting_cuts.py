"""Decisions that wait for texts to be cut, and what was cut for units that are considered again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from gptoss_flow.errors import StepError
from gptoss_flow.plan.decisions import Consider, Expand, Unit
from gptoss_flow.refs import Cuts, NeedsTokens
from gptoss_flow.run.cutting import Cutter
from gptoss_flow.run.tasks import Post

Again = Callable[[Consider | Expand, StepError | None], None]
"""Takes a decision again, or is told why its texts could not be cut."""


class WaitingCuts:
    """The tasks that cut, each with the decision that is to be taken again. None outlives the run."""

    def __init__(self, post: Post, again: Again) -> None:
        self._post = post
        self._again = again
        self._tasks: dict[asyncio.Task[Cuts], Consider | Expand] = {}
        self._cuts: dict[Unit, Cuts] = {}

    def of(self, unit: Unit) -> Cuts | None:
        """What was cut for this unit so far."""
        return self._cuts.get(unit)

    def forget(self, unit: Unit) -> None:
        """What it was cut for is decided."""
        self._cuts.pop(unit, None)

    def begin(self, cutter: Cutter, server: str | None, decision: Consider | Expand, needs: NeedsTokens) -> None:
        """Cut what this decision needs; then it is taken again."""
        task = asyncio.create_task(cutter.cut(server, decision.unit.id, needs))
        self._tasks[task] = decision
        task.add_done_callback(lambda _: self._post(partial(self._done, task)))

    def _done(self, task: asyncio.Task[Cuts]) -> None:
        decision = self._tasks.pop(task, None)
        if decision is None:
            return  # it was abandoned
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StepError):
            raise error
        if error is None and not task.cancelled():
            self._cuts[decision.unit] = {**self._cuts.get(decision.unit, {}), **task.result()}
        self._again(decision, error)

    def cancel(self, is_meant: Callable[[Unit], bool]) -> None:
        """What was decided of these units is taken again at once."""
        for task, decision in self._tasks.items():
            if is_meant(decision.unit):
                task.cancel()

    def abandon(self) -> Iterator[Consider | Expand]:
        """Forget each of them."""
        while self._tasks:
            yield self._tasks.popitem()[1]

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
