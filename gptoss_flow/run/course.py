"""A run's course through its plan: does what the frontier decides, records it, and gives every unit its one end.

It knows nodes and outcomes, no kind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import assert_never

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import FellBack, Json, Outcome, OutcomeWord, StepStarted
from gptoss_flow.plan.decisions import (
    ROOT,
    Close,
    Consider,
    Decision,
    Expand,
    Finalize,
    Gather,
    Skip,
    Start,
    Unit,
)
from gptoss_flow.plan.frontier import Frontier
from gptoss_flow.plan.plan import Condition, Node, Plan, unit_id
from gptoss_flow.refs import NeedsTokens
from gptoss_flow.run.budget import Budget
from gptoss_flow.run.context import Scope, World, error_value, judge
from gptoss_flow.run.ends import ENDS_ALL, status_of
from gptoss_flow.run.group import End, Fallen, Group, inner_group
from gptoss_flow.run.items import items_of, max_parallel
from gptoss_flow.run.key import unit_key
from gptoss_flow.run.known import NOTHING_KNOWN, Key, Known
from gptoss_flow.run.servers import Servers
from gptoss_flow.run.tasks import Post, Running, Tasks, UnitTask
from gptoss_flow.run.unit import run_unit
from gptoss_flow.run.waiting_cuts import WaitingCuts

CANCELLED = Outcome("cancelled", reason="cancelled")
NOT_STARTED = Outcome("skipped", reason="cancelled")


class Course:
    """The units and groups of one run. Only the loop changes them: `post` hands it what happened elsewhere."""

    def __init__(
        self,
        world: World,
        scope: Scope,
        frontier: Frontier,
        *,
        post: Post,
        servers: Servers,
        budget: Budget,
        known: Known,
        environ: Mapping[str, str],
    ) -> None:
        self._world = replace(world, enter=self._enter)
        self._frontier = frontier
        self._post = post
        self._servers = servers
        self._budget = budget
        self._known = known
        self._environ = environ
        self.root = Group(ROOT, self._world, scope)
        self._groups = {ROOT: self.root}
        self._entered: set[Group] = set()
        """Flows inside units whose end is waited for."""
        self.tasks = Tasks(lambda task: post(partial(self._settle, task)))
        self._keys: dict[Unit, Key] = {}
        self._cuts = WaitingCuts(post, self._again)
        self._todo: deque[Decision] = deque()

    def act(self, decisions: Iterable[Decision]) -> None:
        """Do what the frontier decided; what that settles at once brings further decisions."""
        self._todo += decisions
        while self._todo:
            match self._todo[0]:  # it stays until it is done, whatever happens: every step has an end on record
                case Start(unit, fallback):
                    self._todo += self._start(unit, fallback=fallback)
                case Consider(unit):
                    self._todo += self._consider(unit)
                case Expand(unit):
                    self._todo += self._expand(unit)
                case Skip(unit, reason):
                    self._finish(unit, Outcome("skipped", reason=reason), End())
                case Gather(unit, outcome, failed_item):
                    self._gather(unit, outcome, failed_item)
                case Finalize(group_id):
                    self._todo += self._finalize(self._groups[group_id])
                case Close(group_id):
                    self._groups.pop(group_id).ended.set()
                case decision:
                    assert_never(decision)
            self._todo.popleft()

    def _consider(self, unit: Unit) -> list[Decision]:
        """Whether a unit has to run: its condition, then whether its result is known."""
        if self._is_stopped(unit):
            return self._ended(unit, NOT_STARTED)
        group = self._groups[unit.group]
        node, scope = group.plan.nodes[unit.node], group.scope_of(unit)
        try:
            if node.step.when is False or not self._holds(group.plan, unit, node.when, scope):
                return self._ended(unit, Outcome("skipped", reason="when"))
        except NeedsTokens as needs:
            return self._cut_first(Consider(unit), node, needs)
        except StepError as error:
            return self._failed(unit, error)
        if self._known is not NOTHING_KNOWN:
            key = self._keys[unit] = unit_key(group.world, node, scope)
            if hit := self._known.find(unit.id, node, key):
                return self._ended(unit, hit.outcome, key=self._keys.pop(unit), reused=hit.run_id)
        return self._frontier.queue(unit)

    def _start(self, unit: Unit, *, fallback: bool) -> list[Decision]:
        if self._is_stopped(unit):
            return self._ended(unit, CANCELLED if fallback else NOT_STARTED)
        group, began, key = self._groups[unit.group], self._world.clock.monotonic(), self._keys.pop(unit, None)
        node, scope, world = group.plan.nodes[unit.node], group.scope_of(unit), group.world
        if fallback:
            assert node.fallback is not None
            fallen = group.fallen.pop(unit)
            began, key, scope = fallen.began, fallen.key, {**scope, "error": fallen.error}
            work = run_unit(world, node.fallback, unit, scope, first_attempt=fallen.error["attempts"] + 1)
        else:
            # The loop records the start: a task that is cancelled before its first instruction never runs.
            once = "once" if node.effect == "once" else ""
            shown = group.shown(unit)
            self._world.emit(StepStarted(step=unit.id, kind=node.step.kind, values=shown, effect=once))
            key = unit_key(world, node, scope) if key is None else key
            work = run_unit(world, node, unit, scope)
        self.tasks.start(work, Running(unit, began, key, fallback))
        return []

    def _expand(self, unit: Unit) -> list[Decision]:
        """Evaluate the items of a fan-out."""
        if self._is_stopped(unit):
            return self._ended(unit, NOT_STARTED)
        group, began = self._groups[unit.group], self._world.clock.monotonic()
        node = group.plan.nodes[unit.node]
        try:
            items = items_of(group.plan, node, group.scope, self._cuts.of(unit))
            limit = max_parallel(group.plan, node, group.scope, self._cuts.of(unit))
        except NeedsTokens as needs:
            return self._cut_first(Expand(unit), node, needs)
        except StepError as error:
            return self._failed(unit, error)
        self._cuts.forget(unit)
        items.began = began
        group.items[node.id] = items
        self._world.emit(StepStarted(step=unit.id, kind=node.step.kind, items=len(items)))
        return self._frontier.expanded(unit, len(items), limit)

    def _holds(self, plan: Plan, unit: Unit, when: Condition | None, scope: Scope) -> bool:
        held = when is None or judge(plan, when, scope, self._cuts.of(unit)).held
        self._cuts.forget(unit)
        return held

    def _cut_first(self, decision: Consider | Expand, node: Node, needs: NeedsTokens) -> list[Decision]:
        """A decision that needs texts cut is taken again once they are."""
        cutter = self._groups[decision.unit.group].world.cutter
        self._cuts.begin(cutter, node.server, decision, needs)
        return []

    def _again(self, decision: Consider | Expand, error: StepError | None) -> None:
        self.act([decision] if error is None else self._failed(decision.unit, error))

    def _finalize(self, group: Group) -> list[Decision]:
        """All steps have ended: those that run last may see how."""
        if group is self.root:
            self._budget.is_over = True
        code = self.root.failures.code
        status = status_of(code if code in ENDS_ALL else group.failures.code)
        group.begin_final("cancelled" if group.is_given_up and status == "succeeded" else status)
        return self._frontier.begin_final(group.id)

    # --- flows inside steps -----------------------------------------------------------------------------------

    async def _enter(self, node: Node, group_id: str, inputs: Mapping[str, Json]) -> Json:
        """Run the flow inside a unit, in the unit's own task: the loop opens its group and says when it ends."""
        unit = self.tasks.current().unit
        group = inner_group(self._groups[unit.group], node, group_id, inputs, self._environ)
        await group.add_late_vars()
        self._entered.add(group)
        self._post(partial(self._open, group, unit))
        try:
            await group.ended.wait()
        except asyncio.CancelledError:
            self._post(partial(self._give_up, group))
            while not group.ended.is_set():  # no unit ends before those within it, however often it is told to
                with suppress(asyncio.CancelledError):
                    await group.ended.wait()
            raise
        finally:
            self._entered.discard(group)
        await group.cut_outputs()
        return group.result()

    def _open(self, group: Group, unit: Unit) -> None:
        if group.is_given_up or self._frontier.is_stopped(unit.group):
            group.is_given_up = True
            group.ended.set()
        else:
            self._groups[group.id] = group
            self.act(self._frontier.enter(unit, group.plan))

    def _give_up(self, group: Group) -> None:
        group.is_given_up = True
        if self._groups.get(group.id) is group:
            self.act(self.stop(group.id))

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, task: UnitTask) -> None:
        """A unit's task has ended: make its outcome, record it, act on what that allows."""
        running = self.tasks.of(task)
        if running is None:
            return  # it was abandoned
        outcome, code = (CANCELLED, ExitCode.OK) if task.cancelled() else task.result()  # raises what was a bug
        self.tasks.forget(task)
        unit, group = running.unit, self._groups[running.unit.group]
        node = group.plan.nodes[unit.node]
        may_fall_back = not running.fallback and not self._frontier.is_stopped(group.id)
        if outcome.error is not None and node.fallback is not None and may_fall_back:
            self._world.emit(FellBack(step=unit.id, kind=node.fallback.step.kind, error=outcome.error))
            group.fallen[unit] = Fallen(outcome.error, running.began, running.key)
            self.act(self._frontier.settled(unit, "failed", fallback=True))
            return
        self.act(self._ended(unit, outcome, code, began=running.began, key=running.key))
        if running.key and outcome.outcome == "succeeded" and not running.fallback:
            self._known.keep(unit.id, node, running.key, outcome)

    def _failed(self, unit: Unit, error: StepError) -> list[Decision]:
        """A unit failed before it was started."""
        node = self._groups[unit.group].plan.nodes[unit.node]
        return self._ended(unit, Outcome("failed", error=error_value(error, 0, node.mark)), error.exit_code)

    def _ended(
        self,
        unit: Unit,
        outcome: Outcome,
        code: ExitCode = ExitCode.OK,
        *,
        began: float | None = None,
        key: Key | None = None,
        reused: str = "",
    ) -> list[Decision]:
        """A unit has its end: record it, and ask what that allows."""
        group = self._groups[unit.group]
        node = group.plan.nodes[unit.node]
        duration_s = 0.0 if began is None else self._world.clock.monotonic() - began
        self._finish(unit, outcome, End(duration_s, key=key or {}, reused=reused))
        handled = outcome.outcome == "failed" and node.step.on_error == "continue"
        stopped: list[Decision] = []
        if outcome.outcome == "failed" and not handled:
            assert outcome.error is not None
            group.failures.add(unit_id(unit.node, unit.index), outcome.error, code)
            if group.plan.limits.fail_fast:
                stopped = self.stop(group.id)
        return [*stopped, *self._frontier.settled(unit, outcome.outcome, handled=handled)]

    def _finish(self, unit: Unit, outcome: Outcome, end: End) -> None:
        self._groups[unit.group].finish(unit, outcome, end)
        if unit.group == ROOT and unit.index is None:
            self._servers.ended(unit.node)

    def _gather(self, unit: Unit, word: OutcomeWord, failed_item: int | None) -> None:
        """All items of a fan-out that ran have ended."""
        group = self._groups[unit.group]
        outcome, items = group.gather(unit.node, word, failed_item)
        self._finish(unit, outcome, End(self._world.clock.monotonic() - items.began, items=len(items)))
        del group.items[unit.node]

    # --- endings of the run -------------------------------------------------------------------------------------

    def stop(self, group_id: str = ROOT, *, finals: bool = False) -> list[Decision]:
        """Cancel what runs in a group and those within it, and start nothing more there."""
        found = self._frontier.stop(group_id, finals=finals)
        self._servers.is_closing = self._servers.is_closing or group_id == ROOT
        self.tasks.cancel(self._is_stopped)
        self._cuts.cancel(self._is_stopped)
        return found

    def _is_stopped(self, unit: Unit) -> bool:
        return self._frontier.is_stopped(unit.group)

    def abandon(self) -> None:
        """Give every unit that has none its end, whatever still runs."""
        for decision in self._cuts.abandon():
            self.act([decision])
        for running in self.tasks.abandon():
            self.act(self._ended(running.unit, CANCELLED, began=running.began))

    async def end(self) -> None:
        """No task outlives the run, however it ended."""
        for group in (*self._groups.values(), *self._entered):  # also one that the loop did not come to open
            group.is_given_up = True
            group.ended.set()
        await self.tasks.end()
        await self._cuts.end()
        await self._servers.settled()
