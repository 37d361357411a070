"""The one loop of a run: what comes before its steps, waiting for what happens, and every way in which it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

from gptoss_flow.errors import ExitCode, FlowError, RecordError, StepError
from gptoss_flow.events import Event, RunFinished, ToolStarted, Warned
from gptoss_flow.plan.frontier import Frontier
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Ask, Clock, Emit, Models, Tool, ToolContext, nobody
from gptoss_flow.run.budget import Budget, Spent, refused
from gptoss_flow.run.context import Scope, ToolsOf, World
from gptoss_flow.run.course import Course
from gptoss_flow.run.ends import ENDS_ALL, RunResult, last_event, result_of
from gptoss_flow.run.known import NOTHING_KNOWN, Known
from gptoss_flow.run.servers import Servers
from gptoss_flow.trials import Bench, NoBench

T = TypeVar("T")


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
        left_out = {node_id for node_id in plan.nodes if select is not None and node_id not in select}
        self._record = emit
        self._clock = clock
        self._models = models
        self._prepare_tools = prepare
        self._cores = cores
        self._frontier = Frontier(
            plan,
            concurrency=plan.limits.concurrency,
            reuse=known is not NOTHING_KNOWN,
            select=select,
        )
        self._servers = Servers(plan, models, left_out)
        self._budget = Budget(plan.limits, spent or Spent())
        self._inbox: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        """What the loop is to do next: only the loop changes what the run knows of itself."""
        self._course = Course(
            World(
                plan,
                models,
                tools,
                tool_context,
                clock,
                self._emit,
                date or f"{clock.now():%Y-%m-%d}",
                inner_tools=inner_tools,
                ask=ask,
                bench=bench or NoBench(),
            ),
            scope,
            self._frontier,
            post=self._inbox.put_nowait,
            servers=self._servers,
            budget=self._budget,
            known=known,
            environ=environ or {},
        )
        self._root = self._course.root
        self._root.left_out = left_out
        self._begun = False
        self._interrupts = 0
        self._bug: BaseException | None = None
        self._began = clock.monotonic()

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
        await self._course.end()
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
            self._course.tasks.start_timer(self._run_out(left_s))
        slots = await self._before_steps(self._prepare())
        if slots is None or await self._before_steps(self._late_vars()) is None:
            return
        self._begun = True
        self._course.act(self._frontier.begin(slots, self._cores))
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

    # --- endings of the run -----------------------------------------------------------------------------------

    def _found_bug(self, error: Exception) -> None:
        if self._bug is None:
            self._bug = error
            self._fail(ExitCode.BUG, f"{type(error).__name__}: {error}")

    def _fail(self, code: ExitCode, line: str) -> None:
        self._root.failures.ended_by(code, line)

    def _stop(self, *, finals: bool = False) -> None:
        self._course.act(self._course.stop(finals=finals or not self._begun))

    def _interrupted(self, *, again: bool) -> None:
        self._stop(finals=again)
        if not again and self._frontier.finals_left:
            self._emit(Warned(message="the steps of finally still run; interrupt again to skip them"))

    def _reached(self, limit: str) -> None:
        """A limit ends the run, but not what runs last."""
        if not self._budget.is_over:
            self._budget.is_over = True
            self._root.failures.ended_by(ExitCode.LIMITED, limit)
            self._stop()

    async def _run_out(self, time_s: float) -> None:
        await self._clock.sleep(time_s)
        said = self._budget.out_of_time(self._clock.monotonic() - self._began)
        self._inbox.put_nowait(partial(self._reached, said))

    def _abandon(self) -> None:
        """Where something ended the walk half-way, every step that has none gets its end on record."""
        if self._frontier.done:
            return
        try:
            self._stop(finals=True)
            self._course.abandon()
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
