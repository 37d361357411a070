"""The one loop: asks the frontier what to do next, does it, records it. It knows nodes and outcomes, no kind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar, assert_never

from gptoss_flow.errors import ExitCode, FlowError, RecordError, StepError
from gptoss_flow.events import (
    Event,
    FellBack,
    Json,
    Outcome,
    OutcomeWord,
    RunFinished,
    StepStarted,
    ToolStarted,
    Warned,
)
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
from gptoss_flow.ports import Ask, Clock, Emit, Models, Tool, ToolContext, nobody
from gptoss_flow.refs import Cuts, NeedsTokens
from gptoss_flow.run.budget import Budget, Spent, refused
from gptoss_flow.run.context import Scope, ToolsOf, World, error_value, judge
from gptoss_flow.run.ends import RunResult, last_event, result_of, status_of
from gptoss_flow.run.group import End, Fallen, Group, inner_group
from gptoss_flow.run.items import items_of, max_parallel
from gptoss_flow.run.key import unit_key
from gptoss_flow.run.known import NOTHING_KNOWN, Key, Known
from gptoss_flow.run.servers import Servers
from gptoss_flow.run.tasks import Running, Tasks, UnitTask
from gptoss_flow.run.unit import run_unit
from gptoss_flow.trials import Bench, NoBench

T = TypeVar("T")

CANCELLED = Outcome("cancelled", reason="cancelled")
NOT_STARTED = Outcome("skipped", reason="cancelled")
ENDS_ALL = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.LIMITED)
"""What ends the flows inside steps with the run."""


class Executor:
    """One run of one plan."""

    def __init__(
        self,
        plan: Plan,
        *,
        scope: Scope,
        models: Models,
        tools: Mapping[str, Tool],
        tool_context: ToolContext,
        emit: Emit,
        clock: Clock,
        cores: int,
        date: str | None = None,
        known: Known = NOTHING_KNOWN,
        select: Collection[str] | None = None,
        environ: Mapping[str, str] | None = None,
        spent: Spent | None = None,
        inner_tools: ToolsOf | None = None,
        ask: Ask = nobody,
        prepare: Callable[[], Awaitable[None]] | None = None,
        bench: Bench | None = None,
    ) -> None:
        """Only the steps of `select` run. `environ` is what flows inside steps may read of the environment, and
        `inner_tools` are the tools that they have; without it the same ones. `prepare`: what tools need before any
        step, beside models.

        `date`, YYYY-MM-DD, and what was `spent`: of a run that is resumed.
        """
        self._plan = plan
        self._record = emit
        self._clock = clock
        self._models = models
        self._prepare_tools = prepare
        world = World(
            plan,
            models,
            tools,
            tool_context,
            clock,
            self._emit,
            date or f"{clock.now():%Y-%m-%d}",
            self._enter,
            inner_tools,
            ask,
            bench=bench or NoBench(),
        )
        self._root = Group(ROOT, world, scope)
        self._groups = {ROOT: self._root}
        self._entered: set[Group] = set()
        """Flows inside units whose end is waited for."""
        self._known = known
        self._environ = environ or {}
        self._frontier = Frontier(
            plan,
            concurrency=plan.limits.concurrency,
            reuse=known is not NOTHING_KNOWN,
            select=select,
        )
        self._cores = cores
        self._budget = Budget(plan.limits, spent or Spent())
        self._tasks = Tasks(lambda task: self._inbox.put_nowait(partial(self._settle, task)))
        self._keys: dict[Unit, Key] = {}
        self._cuts: dict[Unit, Cuts] = {}
        """What is cut for units that are considered again."""
        self._cutting: dict[asyncio.Task[Cuts], Consider | Expand] = {}
        self._inbox: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        """What the loop is to do next: only the loop changes what the run knows of itself."""
        self._todo: deque[Decision] = deque()
        self._begun = False
        self._interrupts = 0
        self._bug: BaseException | None = None
        self._began = clock.monotonic()
        left_out = {node_id for node_id in plan.nodes if select is not None and node_id not in select}
        self._servers = Servers(plan, models, left_out)
        self._root.left_out = left_out

    def interrupt(self, code: ExitCode) -> bool:
        """Cancel what runs, start nothing more but what runs last, close the record. May be called at any moment.

        The second time, what runs last is ended too. False: there is nothing more to end but the process.
        """
        self._interrupts += 1
        if self._interrupts > 1 and (self._interrupts > 2 or not self._frontier.finals_left):
            return False
        self._inbox.put_nowait(partial(self._interrupted, again=self._interrupts > 1))
        if self._interrupts == 1:
            said = "stopped by the user" if code is ExitCode.INTERRUPTED else "terminated"
            self._root.failures.ended_by(code, said)
        return True

    def abort(self) -> None:
        """Put the end of every step and of the run on record now: the process is about to end. Call it once."""
        self._abandon()
        self._record(self._last_event(self._result()))

    async def run(self, close: Callable[[], Awaitable[None]]) -> RunResult:
        """Walk the plan to its end and `close` what served it; `RunFinished` is the last event on record."""
        try:
            await self._walk()
        except FlowError as error:
            self._fail(error.exit_code, str(error))
        except StepError as error:  # of the flow's own values
            self._fail(error.exit_code, f"{error.mark}: {error.message}" if error.mark else error.message)
        except Exception as error:
            self._found_bug(error)
        await self._end_tasks()
        try:
            self._abandon()
            if self._root.failures.code not in ENDS_ALL:
                await self._root.cut_outputs()
            await close()
            result = self._result()
            self._record(self._last_event(result))
        except RecordError as error:
            self._fail(error.exit_code, str(error))
            return self._result()
        return result

    # --- the loop ---------------------------------------------------------------------------------------------

    async def _walk(self) -> None:
        if (exceeded := self._budget.spent_before()) is not None:
            self._reached(exceeded)
            return
        if (left_s := self._budget.time_left_s) is not None:
            self._tasks.start_timer(self._run_out(left_s))
        slots = await self._before_steps(self._prepare())
        if slots is None or await self._before_steps(self._late_vars()) is None:
            return
        self._begun = True
        self._act(self._frontier.begin(slots, self._cores))
        while not self._frontier.done:
            (await self._inbox.get())()

    async def _late_vars(self) -> bool:
        await self._root.add_late_vars()
        return True

    async def _before_steps(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What is to be known before any step; None where the run was ended meanwhile."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._inbox.put_nowait(lambda: None))
        while not task.done():
            (await self._inbox.get())()
            if self._frontier.done:
                task.cancel()
                await asyncio.wait([task])
                return None
        return task.result()

    async def _prepare(self) -> Mapping[str, int]:
        if self._prepare_tools is not None:
            await self._prepare_tools()
        return await self._models.prepare(self._servers.needed)

    def _act(self, decisions: Iterable[Decision]) -> None:
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
        if self._frontier.is_stopped(unit.group):
            return self._ended(unit, NOT_STARTED)
        group = self._groups[unit.group]
        node, scope = group.plan.nodes[unit.node], group.scope_of(unit)
        try:
            if node.step.when is False or not self._holds(group.plan, unit, node.when, scope):
                return self._ended(unit, Outcome("skipped", reason="when"))
        except NeedsTokens as needs:
            return self._cut_first(Consider(unit), node, needs)
        except StepError as error:
            failed = Outcome("failed", error=error_value(error, 0, node.mark))
            return self._ended(unit, failed, error.exit_code)
        if self._known is not NOTHING_KNOWN:
            key = self._keys[unit] = unit_key(group.world, node, scope)
            if hit := self._known.find(unit.id, node, key):
                return self._ended(unit, hit.outcome, key=self._keys.pop(unit), reused=hit.run_id)
        return self._frontier.queue(unit)

    def _start(self, unit: Unit, *, fallback: bool) -> list[Decision]:
        if self._frontier.is_stopped(unit.group):
            return self._ended(unit, CANCELLED if fallback else NOT_STARTED)
        group, began, key = self._groups[unit.group], self._clock.monotonic(), self._keys.pop(unit, None)
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
            self._emit(StepStarted(step=unit.id, kind=node.step.kind, values=shown, effect=once))
            key = unit_key(world, node, scope) if key is None else key
            work = run_unit(world, node, unit, scope)
        self._tasks.start(work, Running(unit, began, key, fallback))
        return []

    def _expand(self, unit: Unit) -> list[Decision]:
        """Evaluate the items of a fan-out."""
        if self._frontier.is_stopped(unit.group):
            return self._ended(unit, NOT_STARTED)
        group, began = self._groups[unit.group], self._clock.monotonic()
        node = group.plan.nodes[unit.node]
        try:
            items = items_of(group.plan, node, group.scope, self._cuts.get(unit))
            limit = max_parallel(group.plan, node, group.scope, self._cuts.get(unit))
        except NeedsTokens as needs:
            return self._cut_first(Expand(unit), node, needs)
        except StepError as error:
            return self._ended(unit, Outcome("failed", error=error_value(error, 0, node.mark)), error.exit_code)
        self._cuts.pop(unit, None)
        items.began = began
        group.items[node.id] = items
        self._emit(StepStarted(step=unit.id, kind=node.step.kind, items=len(items)))
        return self._frontier.expanded(unit, len(items), limit)

    def _holds(self, plan: Plan, unit: Unit, when: Condition | None, scope: Scope) -> bool:
        held = when is None or judge(plan, when, scope, self._cuts.get(unit)).held
        self._cuts.pop(unit, None)
        return held

    def _cut_first(self, decision: Consider | Expand, node: Node, needs: NeedsTokens) -> list[Decision]:
        """A decision that needs texts cut is taken again once they are."""
        unit = decision.unit
        cutter = self._groups[unit.group].world.cutter
        task = asyncio.create_task(cutter.cut(node.server, unit.id, needs))
        self._cutting[task] = decision
        task.add_done_callback(lambda _: self._inbox.put_nowait(partial(self._cut_done, task)))
        return []

    def _cut_done(self, task: asyncio.Task[Cuts]) -> None:
        decision = self._cutting.pop(task, None)
        if decision is None:
            return
        unit = decision.unit
        error = None if task.cancelled() else task.exception()
        if isinstance(error, StepError):
            node = self._groups[unit.group].plan.nodes[unit.node]
            failed = Outcome("failed", error=error_value(error, 0, node.mark))
            self._act(self._ended(unit, failed, error.exit_code))
        elif error is not None:
            raise error
        else:
            if not task.cancelled():
                self._cuts[unit] = {**self._cuts.get(unit, {}), **task.result()}
            self._act([decision])

    def _finalize(self, group: Group) -> list[Decision]:
        """All steps have ended: those that run last may see how."""
        if group is self._root:
            self._budget.is_over = True
        code = self._root.failures.code
        status = status_of(code if code in ENDS_ALL else group.failures.code)
        group.begin_final("cancelled" if group.is_given_up and status == "succeeded" else status)
        return self._frontier.begin_final(group.id)

    # --- flows inside steps -----------------------------------------------------------------------------------

    async def _enter(self, node: Node, group_id: str, inputs: Mapping[str, Json]) -> Json:
        """Run the flow inside a unit, in the unit's own task: the loop opens its group and says when it ends."""
        unit = self._tasks.current().unit
        group = inner_group(self._groups[unit.group], node, group_id, inputs, self._environ)
        await group.add_late_vars()
        self._entered.add(group)
        self._inbox.put_nowait(partial(self._open, group, unit))
        try:
            await group.ended.wait()
        except asyncio.CancelledError:
            self._inbox.put_nowait(partial(self._give_up, group))
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
            self._act(self._frontier.enter(unit, group.plan))

    def _give_up(self, group: Group) -> None:
        group.is_given_up = True
        if self._groups.get(group.id) is group:
            self._act(self._stop(group.id))

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, task: UnitTask) -> None:
        """A unit's task has ended: make its outcome, record it, act on what that allows."""
        running = self._tasks.of(task)
        if running is None:
            return  # it was abandoned
        outcome, code = (CANCELLED, ExitCode.OK) if task.cancelled() else task.result()  # raises what was a bug
        self._tasks.forget(task)
        unit, group = running.unit, self._groups[running.unit.group]
        node = group.plan.nodes[unit.node]
        may_fall_back = not running.fallback and not self._frontier.is_stopped(group.id)
        if outcome.error is not None and node.fallback is not None and may_fall_back:
            self._emit(FellBack(step=unit.id, kind=node.fallback.step.kind, error=outcome.error))
            group.fallen[unit] = Fallen(outcome.error, running.began, running.key)
            self._act(self._frontier.settled(unit, "failed", fallback=True))
            return
        self._act(self._ended(unit, outcome, code, began=running.began, key=running.key))
        if running.key and outcome.outcome == "succeeded" and not running.fallback:
            self._known.keep(unit.id, node, running.key, outcome)

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
        duration_s = 0.0 if began is None else self._clock.monotonic() - began
        self._finish(unit, outcome, End(duration_s, key=key or {}, reused=reused))
        handled = outcome.outcome == "failed" and node.step.on_error == "continue"
        stopped: list[Decision] = []
        if outcome.outcome == "failed" and not handled:
            assert outcome.error is not None
            group.failures.add(unit_id(unit.node, unit.index), outcome.error, code)
            if group.plan.limits.fail_fast:
                stopped = self._stop(group.id)
        return [*stopped, *self._frontier.settled(unit, outcome.outcome, handled=handled)]

    def _finish(self, unit: Unit, outcome: Outcome, end: End) -> None:
        self._groups[unit.group].finish(unit, outcome, end)
        if unit.group == ROOT and unit.index is None:
            self._servers.ended(unit.node)

    def _gather(self, unit: Unit, word: OutcomeWord, failed_item: int | None) -> None:
        """All items of a fan-out that ran have ended."""
        group = self._groups[unit.group]
        outcome, items = group.gather(unit.node, word, failed_item)
        self._finish(unit, outcome, End(self._clock.monotonic() - items.began, items=len(items)))
        del group.items[unit.node]

    # --- endings of the run -----------------------------------------------------------------------------------

    def _found_bug(self, error: Exception) -> None:
        if self._bug is None:
            self._bug = error
            self._fail(ExitCode.BUG, f"{type(error).__name__}: {error}")

    def _fail(self, code: ExitCode, line: str) -> None:
        self._root.failures.ended_by(code, line)

    def _stop(self, group_id: str = ROOT, *, finals: bool = False) -> list[Decision]:
        """Cancel what runs in a group and those within it, and start nothing more there."""
        found = self._frontier.stop(group_id, finals=finals or not self._begun)
        self._servers.is_closing = self._servers.is_closing or group_id == ROOT
        self._tasks.cancel(lambda unit: self._frontier.is_stopped(unit.group))
        for task, decision in self._cutting.items():
            if self._frontier.is_stopped(decision.unit.group):
                task.cancel()
        return found

    def _interrupted(self, *, again: bool) -> None:
        self._act(self._stop(finals=again))
        if not again and self._frontier.finals_left:
            self._emit(Warned(message="the steps of finally still run; interrupt again to skip them"))

    def _reached(self, limit: str) -> None:
        """A limit ends the run, but not what runs last."""
        if not self._budget.is_over:
            self._budget.is_over = True
            self._root.failures.ended_by(ExitCode.LIMITED, limit)
            self._act(self._stop())

    async def _run_out(self, time_s: float) -> None:
        await self._clock.sleep(time_s)
        said = self._budget.out_of_time(self._clock.monotonic() - self._began)
        self._inbox.put_nowait(partial(self._reached, said))

    async def _end_tasks(self) -> None:
        """No task outlives the run, however it ended."""
        for group in (*self._groups.values(), *self._entered):  # also one that the loop did not come to open
            group.is_given_up = True
            group.ended.set()
        await self._tasks.end()
        for task in self._cutting:
            task.cancel()
        await asyncio.gather(*self._cutting, return_exceptions=True)
        await self._servers.settled()

    def _abandon(self) -> None:
        """Where something ended the walk half-way, every step that has none gets its end on record."""
        if self._frontier.done:
            return
        try:
            self._act(self._stop(finals=True))
            while self._cutting:
                self._act([self._cutting.popitem()[1]])
            for running in self._tasks.abandon():
                self._act(self._ended(running.unit, CANCELLED, began=running.began))
        except RecordError:
            raise
        except Exception as error:  # what broke the walk may break this too: the run still ends
            self._found_bug(error)

    def _result(self) -> RunResult:
        outputs, faults = self._root.outputs()
        return result_of(self._root.failures, outputs, faults, self._bug)

    def _last_event(self, result: RunResult) -> RunFinished:
        return last_event(result, self._budget.tokens, self._clock.monotonic() - self._began)

    def _emit(self, event: Event) -> None:
        """Raises `StepError` for a tool call that the run may not make."""
        exceeded = self._budget.count(event)
        if exceeded is not None:
            self._inbox.put_nowait(partial(self._reached, exceeded))
            if isinstance(event, ToolStarted):
                raise refused(exceeded)
        self._record(event)
