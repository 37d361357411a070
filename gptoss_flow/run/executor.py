"""The one loop: asks the frontier what to do next, does it, records it. It knows nodes and outcomes, no kind."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gptoss_flow.errors import ExitCode, FlowError, RecordError, StepError, worst
from gptoss_flow.events import (
    Event,
    GenerationFinished,
    Json,
    Outcome,
    RunFinished,
    RunStatus,
    StepFinished,
    StepStarted,
)
from gptoss_flow.plan.frontier import Decision, Expand, Frontier, Gather, Skip, Start, Unit
from gptoss_flow.plan.plan import Node, Plan, unit_id
from gptoss_flow.ports import Clock, Emit, Models, Tool, ToolContext
from gptoss_flow.record.state import Tokens
from gptoss_flow.run.context import Scope, World, error_value, judge, render
from gptoss_flow.run.unit import common_keys, run_unit

SUCCEEDED = Outcome("succeeded")
CANCELLED = Outcome("cancelled", reason="cancelled")


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `bug` is an exception that nothing expected."""

    status: RunStatus
    exit_code: ExitCode
    outputs: dict[str, Json]
    error: str = ""
    bug: BaseException | None = None


@dataclass
class _FanOut:
    """The items of a step while they run."""

    items: list[tuple[str | int, Json]]
    """Key (of a mapping) or index, and value."""
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    began: float = 0.0


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
    ) -> None:
        self._plan = plan
        self._record = emit
        self._clock = clock
        self._models = models
        self._world = World(plan, models, tools, tool_context, clock, self._emit, f"{clock.now():%Y-%m-%d}")
        self._results: dict[str, dict[str, Json]] = {}
        self._scope: dict[str, Any] = {**scope, "steps": self._results}
        self._frontier = Frontier(plan)
        self._cores = cores
        self._fan_outs: dict[str, _FanOut] = {}
        self._tasks: dict[asyncio.Task[Any], tuple[Unit, Scope, float]] = {}
        self._ended: asyncio.Queue[asyncio.Task[Any] | ExitCode] = asyncio.Queue()
        self._codes: list[ExitCode] = []
        self._first_error = ""
        self._stopping = False
        self._interrupted: ExitCode | None = None
        self._bug: BaseException | None = None
        self._tokens = Tokens()
        self._began = clock.monotonic()
        self._users = {name: sum(node.server == name for node in plan.nodes.values()) for name in plan.servers}
        self._releases: set[asyncio.Task[None]] = set()

    def interrupt(self, code: ExitCode) -> None:
        """Cancel what runs, start nothing more, close the record. May be called at any moment of the run."""
        self._interrupted = self._interrupted or code
        self._ended.put_nowait(code)

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
        except Exception as error:
            self._bug = error
            self._fail(ExitCode.BUG, f"{type(error).__name__}: {error}")
        await self._end_tasks()
        try:
            self._abandon()
            await close()
            result = self._result()
            self._record(self._last_event(result))
        except RecordError as error:
            self._fail(error.exit_code, str(error))
            return self._result()
        return result

    # --- the loop ---------------------------------------------------------------------------------------------

    async def _walk(self) -> None:
        slots = await self._prepared()
        if slots is None:
            self._act(self._frontier.stop())
            return
        self._act(self._frontier.begin(slots, self._cores))
        while not self._frontier.done:
            ended = await self._ended.get()
            if isinstance(ended, ExitCode):
                self._stop()
            else:
                self._settle(ended)

    async def _prepared(self) -> Mapping[str, int] | None:
        """Find or fetch models before any step: the servers' slots; None where an interrupt came meanwhile."""
        task = asyncio.create_task(self._models.prepare(list(self._plan.servers)))
        task.add_done_callback(self._ended.put_nowait)
        ended = await self._ended.get()
        if isinstance(ended, ExitCode):
            self._stopping = True
            task.cancel()
            await asyncio.wait([task])
            return None
        return task.result()

    def _act(self, decisions: Iterable[Decision]) -> None:
        """Do what the frontier decided; what that settles at once brings further decisions."""
        todo = deque(decisions)
        while todo:
            match todo.popleft():
                case Start(unit):
                    todo += self._start(unit)
                case Expand(node_id):
                    todo += self._expand(self._plan.nodes[node_id])
                case Skip(node_id, reason):
                    self._finish(Unit(node_id), Outcome("skipped", reason=reason), 0.0)
                case Gather(node_id, outcome, failed_item):
                    self._gather(self._plan.nodes[node_id], Outcome(outcome), failed_item)

    def _start(self, unit: Unit) -> list[Decision]:
        """Start a unit whose condition holds, as a task."""
        node = self._plan.nodes[unit.node]
        scope = self._scope if unit.index is None else self._item_scope(node, unit.index)
        began = self._clock.monotonic()
        if node.when is not None:
            try:
                if not judge(self._plan, node.when, scope).held:
                    return self._ended_unit(unit, Outcome("skipped", reason="when"), ExitCode.OK, began)
            except StepError as error:
                failed = Outcome("failed", error=error_value(error, 0, node.mark))
                return self._ended_unit(unit, failed, error.exit_code, began)
        elif node.step.when is False:
            return self._ended_unit(unit, Outcome("skipped", reason="when"), ExitCode.OK, began)
        # The loop records the start: a task that is cancelled before its first instruction never runs its body.
        self._emit(StepStarted(step=unit.id, kind=node.step.kind))
        task = asyncio.create_task(run_unit(self._world, node, unit, scope))
        self._tasks[task] = (unit, scope, began)
        task.add_done_callback(self._ended.put_nowait)
        return []

    def _expand(self, node: Node) -> list[Decision]:
        """Evaluate a `foreach`."""
        began = self._clock.monotonic()
        assert node.foreach is not None
        try:
            given = render(self._plan, node.foreach, self._scope)
            if not isinstance(given, list | dict):
                said = f"foreach needs a list or mapping, not {_type_name(given)}"
                raise StepError("expression", said, mark=self._plan.place(node.foreach.path))
            limit = common_keys(self._plan, node, self._scope).max_parallel
        except StepError as error:
            failed = Outcome("failed", error=error_value(error, 0, node.mark))
            return self._ended_unit(Unit(node.id), failed, error.exit_code, began)
        items: list[tuple[str | int, Json]] = [*(given.items() if isinstance(given, dict) else enumerate(given))]
        self._fan_outs[node.id] = _FanOut(items, began=began)
        self._emit(StepStarted(step=node.id, kind=node.step.kind, items=len(items)))
        return self._frontier.expanded(node.id, len(items), None if limit is None else int(limit))

    def _item_scope(self, node: Node, index: int) -> dict[str, Any]:
        items = self._fan_outs[node.id].items
        key, value = items[index]
        loop = {
            "index": index + 1,
            "index0": index,
            "length": len(items),
            "key": key,
            "first": index == 0,
            "last": index == len(items) - 1,
        }
        return {**self._scope, node.item_name: value, "loop": loop}

    # --- ends ---------------------------------------------------------------------------------------------------

    def _settle(self, task: asyncio.Task[Any]) -> None:
        """A unit's task has ended: make its outcome, record it, act on what that allows."""
        unit, _, began = self._tasks[task]
        if task.cancelled():
            outcome, code = CANCELLED, ExitCode.OK
        else:
            outcome, code = task.result()  # raises what was a bug, or could not be recorded
        del self._tasks[task]
        self._act(self._ended_unit(unit, outcome, code, began))

    def _ended_unit(self, unit: Unit, outcome: Outcome, code: ExitCode, began: float) -> list[Decision]:
        node = self._plan.nodes[unit.node]
        handled = outcome.outcome == "failed" and node.step.on_error == "continue"
        if unit.index is not None:
            self._fan_outs[unit.node].outcomes[unit.index] = outcome
        self._finish(unit, outcome, self._clock.monotonic() - began)
        if outcome.outcome == "failed" and not handled:
            self._codes.append(code)
            assert outcome.error is not None
            self._first_error = self._first_error or f"step {unit.id}: {outcome.error['message']}"
        return self._frontier.settled(unit, outcome.outcome, handled=handled)

    def _finish(self, unit: Unit, outcome: Outcome, duration_s: float, items: int | None = None) -> None:
        """Record the end of a unit, then let other steps see its result: record before claim."""
        whole = items is None  # of a fan-out only the items carry outputs
        self._emit(
            StepFinished(
                step=unit.id,
                outcome=outcome.outcome,
                output=outcome.output if whole else None,
                fields=outcome.fields if whole else {},
                error=outcome.error,
                reason=outcome.reason,
                duration_s=duration_s,
                items=items,
            )
        )
        if unit.index is not None:
            return
        node = self._plan.nodes[unit.node]
        result: dict[str, Json] = {"outcome": outcome.outcome, "error": outcome.error, **outcome.fields}
        if outcome.outcome == "succeeded" or node.step.on_error == "continue":
            result["output"] = outcome.output  # of a step that has no result it is undefined
        self._results[unit.node] = result
        server = node.server
        if server is not None:
            self._users[server] -= 1
            if self._users[server] == 0 and not self._stopping:
                task = asyncio.create_task(self._models.release(server))
                self._releases.add(task)
                task.add_done_callback(self._releases.discard)

    def _gather(self, node: Node, ended: Outcome, failed_item: int | None) -> None:
        """The result of a fan-out: every field is a list in item order, null where an item has none."""
        fan_out = self._fan_outs[node.id]
        count = len(fan_out.items)
        outcomes = [fan_out.outcomes.get(i, SUCCEEDED) for i in range(count)]
        fields = {name: [o.fields.get(name) for o in outcomes] for name in node.step.result_fields}
        error = None
        if failed_item is not None:
            cause = fan_out.outcomes[failed_item].error or {}
            error = {**cause, "message": f"{unit_id(node.id, failed_item)}: {cause.get('message', '')}"}
        outcome = Outcome(ended.outcome, [o.output for o in outcomes], fields, error)
        self._finish(Unit(node.id), outcome, self._clock.monotonic() - fan_out.began, items=count)

    # --- endings of the run -----------------------------------------------------------------------------------

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            for task in self._tasks:
                task.cancel()
            self._act(self._frontier.stop())

    def _fail(self, code: ExitCode, message: str) -> None:
        self._codes.append(code)
        # This ended the run: it is told before what steps said.
        self._first_error = message

    async def _end_tasks(self) -> None:
        """No task outlives the run, however it ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._releases, return_exceptions=True)

    def _abandon(self) -> None:
        """Where something ended the walk half-way, every step that has none gets its end on record."""
        if self._frontier.done:
            return
        self._act(self._frontier.stop())
        for task, (unit, _, began) in list(self._tasks.items()):
            del self._tasks[task]
            self._act(self._ended_unit(unit, CANCELLED, ExitCode.OK, began))

    def _result(self) -> RunResult:
        if self._interrupted is not None:
            self._codes.append(self._interrupted)
        code = worst(self._codes)
        outputs, faults = self._outputs()
        if code is ExitCode.OK and faults:
            code, self._first_error = faults[0].exit_code, f"{faults[0].mark}: {faults[0].message}"
        status: RunStatus = "succeeded" if code is ExitCode.OK else "failed"
        if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            said = "stopped by the user" if code is ExitCode.INTERRUPTED else "terminated"
            status, self._first_error = "cancelled", said
        return RunResult(status, code, outputs, self._first_error, self._bug)

    def _last_event(self, result: RunResult) -> RunFinished:
        return RunFinished(
            status=result.status,
            exit_code=int(result.exit_code),
            outputs=result.outputs,
            tokens=asdict(self._tokens),
            duration_s=self._clock.monotonic() - self._began,
            error=result.error,
        )

    def _outputs(self) -> tuple[dict[str, Json], list[StepError]]:
        """What the flow gives; null for what can't be computed, with the reason."""
        if self._plan.outputs is None:
            return {self._plan.last_step: self._results.get(self._plan.last_step, {}).get("output")}, []
        found: dict[str, Json] = {}
        faults = []
        for name, values in self._plan.outputs.items():
            try:
                found[name] = render(self._plan, values, self._scope)
            except StepError as error:
                found[name] = None
                faults.append(error)
        return found, faults

    def _emit(self, event: Event) -> None:
        if isinstance(event, GenerationFinished):
            self._tokens.add(event.usage)
        self._record(event)


def _type_name(value: Json) -> str:
    names = {str: "text", int: "a number", float: "a number", bool: "a boolean", type(None): "null"}
    return names.get(type(value), type(value).__name__)
