"""What one attempt of a step sees of the run: its values, its model, its tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from gptoss_flow.errors import Mark, StepError
from gptoss_flow.events import Event, Json
from gptoss_flow.fields import RENDERED
from gptoss_flow.lang.document import Path
from gptoss_flow.permissions import NONE, Permissions, granted, merged
from gptoss_flow.permissions import Verdict as Judged
from gptoss_flow.permissions import judge as judge_call
from gptoss_flow.plan.plan import Condition, Node, Plan, Values
from gptoss_flow.ports import (
    Ask,
    Asking,
    Clock,
    Emit,
    Generation,
    Kept,
    Model,
    Models,
    RenderedPrompt,
    Tool,
    ToolContext,
    nobody,
)
from gptoss_flow.refs import Allowance, Cuts, EvaluationError
from gptoss_flow.run.cutting import Cutter
from gptoss_flow.steps.base import Feedback, Verdict
from gptoss_flow.trials import Bench, NoBench

T = TypeVar("T")
Scope = Mapping[str, Any]

Enter = Callable[[Node, str, Mapping[str, Json]], Awaitable[Json]]
"""Runs the flow inside a node's unit with these inputs, and gives its outputs. Raises `StepError`."""


ToolsOf = Callable[[Plan], Mapping[str, Tool]]


async def no_flow_inside(node: Node, unit_id: str, inputs: Mapping[str, Json]) -> Json:
    """Where no step of a kind that has a flow inside can be."""
    raise AssertionError(f"{unit_id} has no flow inside")


@dataclass(frozen=True, slots=True)
class World:
    """What all steps of a run share."""

    plan: Plan
    models: Models
    tools: Mapping[str, Tool]
    tool_context: ToolContext
    clock: Clock
    emit: Emit
    date: str
    """YYYY-MM-DD, frozen for the run."""
    enter: Enter = no_flow_inside
    inner_tools: ToolsOf | None = None
    """The tools of a flow inside a step; None: the same ones."""
    ask: Ask = nobody
    """Who decides on calls that a person is to decide."""
    outer: tuple[Permissions, ...] = ()
    """What the flows say that this one is in: it binds them too."""
    bench: Bench = field(default_factory=NoBench)

    @property
    def cutter(self) -> Cutter:
        return Cutter(self.models, self.emit)


def failed_expression(plan: Plan, error: EvaluationError, path: Path) -> StepError:
    """An expression's failure as a step's, with its place in the file."""
    said = f"{error.message}; {error.hint}" if error.hint else error.message
    return StepError("expression", said, mark=plan.place(path, error.occurrence), retryable=False)


def render(
    plan: Plan,
    values: Values,
    scope: Scope,
    cuts: Cuts | None = None,
    allowance: Allowance | None = None,
) -> Any:
    """The values with every expression evaluated. Raises `StepError` at the place of the one that failed."""
    try:
        return values.compiled.render(scope, cuts, allowance)
    except EvaluationError as error:
        raise failed_expression(plan, error, error.path) from None


def judge(plan: Plan, condition: Condition, scope: Scope, cuts: Cuts | None = None) -> Verdict:
    """Whether a condition holds, with the values that it names. Raises `StepError`, `NeedsTokens`."""
    if condition.template is None:
        return Verdict(condition.text, condition.mark, condition.constant, ())
    try:
        held = bool(condition.template.render(scope, cuts))
    except EvaluationError as error:
        said = f"{error.message}; {error.hint}" if error.hint else error.message
        raise StepError("expression", said, mark=condition.mark, retryable=False) from None
    return Verdict(condition.text, condition.mark, held, condition.template.shown(scope))


def permissions_of(plan: Plan, values: Values | None, scope: Scope) -> Permissions:
    """The permissions of a flow or a step, with their values. Raises `StepError`."""
    if values is None:
        return NONE
    try:
        return Permissions.model_validate(render(plan, values, scope), context=RENDERED)
    except ValidationError as error:
        first = error.errors()[0]
        said = f"{first['input']!r} {first['msg'].removeprefix('Input ').removeprefix('Value ')}"
        mark = plan.place(values.path)
        raise StepError("expression", f"permissions: {said}", mark=mark, retryable=False) from None


class Context:
    """`steps.base.StepContext` for one attempt of one unit. Close it."""

    def __init__(
        self,
        world: World,
        node: Node,
        step_id: str,
        attempt: int,
        scope: Scope,
        feedback: Feedback | None = None,
    ) -> None:
        self._world = world
        self._node = node
        self._scope = scope
        self.step_id = step_id
        self.attempt = attempt
        self.feedback = feedback
        self.answer: str | None = None
        self.conversation: tuple[RenderedPrompt, Generation] | None = None
        self.date = world.date
        self.schema = node.schema
        self._kept = Kept()
        self._rules: tuple[Permissions, Permissions] | None = None

    @property
    def server(self) -> str:
        assert self._node.server is not None
        return self._node.server

    def tool_context(
        self, call_id: str, *, by_model: bool = False, env: Mapping[str, str] | None = None
    ) -> ToolContext:
        base, outer, (_, of_both) = self._world.tool_context, self._world.outer, self._permissions()
        grants = replace(
            base.grants,
            hosts=tuple(of_both.hosts),
            within=tuple(tuple(each.hosts) for each in outer if each.hosts),
            network=bool(of_both.network) and all(each.network is not False for each in outer),
            sandbox=self._node.step.sandbox_name() or "auto",
            sandboxed=self._node.step.sandbox_name() is not None,
        )
        writes_own = bool(of_both.own_files) and all(each.own_files is not False for each in outer)
        return replace(
            base,
            step=self.step_id,
            call_id=call_id,
            own_files=() if writes_own else base.own_files,
            readable=() if by_model else base.readable,
            grants=grants,
            env=env or {},
            kept=self._kept,
        )

    @property
    def tools(self) -> Mapping[str, Tool]:
        return granted(self._node.tools, self._world.tools)

    def judge(self, tool: str, arguments: Mapping[str, Json], *, by_model: bool = True) -> Judged:
        of_step, of_both = self._permissions()
        levels = [*self._world.outer, of_both] if by_model else [of_step]
        return judge_call(levels, tool, arguments, workspace=self._world.tool_context.workspace)

    async def ask(self, asking: Asking) -> Literal["approved", "declined", "unasked"]:
        return await self._world.ask(asking)

    def _permissions(self) -> tuple[Permissions, Permissions]:
        """The step's own, and with the flow's."""
        if self._rules is None:
            plan = self._world.plan
            own = permissions_of(plan, self._node.permissions, self._scope)
            self._rules = own, merged(permissions_of(plan, plan.permissions, self._scope), own)
        return self._rules

    async def aclose(self) -> None:
        """Nothing that tools kept for this attempt outlives it."""
        await self._kept.aclose()

    async def body(self) -> Mapping[str, Any]:
        return await self._settled(lambda cuts: render(self._world.plan, self._node.body, self._scope, cuts))

    async def model(self) -> Model:
        return await self._world.cutter.model(self.server)

    async def enter(self, inputs: Mapping[str, Json]) -> Json:
        return await self._world.enter(self._node, self.step_id, inputs)

    def answered(self, text: str, conversation: tuple[RenderedPrompt, Generation] | None = None) -> None:
        self.answer, self.conversation = text, conversation

    def tool(self, name: str) -> Tool:
        return self._world.tools[name]

    @property
    def bench(self) -> Bench:
        return self._world.bench

    def place(self, *path: str) -> Mark:
        try:
            return self._world.plan.place((*self._node.body.path, *path))
        except LookupError:
            return self._node.mark

    async def conditions(self) -> list[Verdict]:
        return await self._judged(self._node.conditions, self._scope)

    async def expectations(self, output: Json) -> list[Verdict]:
        """The step's `expect`, over its output."""
        return await self._judged(self._node.expect, {**self._scope, "output": output})

    async def _judged(self, conditions: Sequence[Condition], scope: Scope) -> list[Verdict]:
        plan = self._world.plan
        return await self._settled(lambda cuts: [judge(plan, condition, scope, cuts) for condition in conditions])

    async def _settled(self, evaluate: Callable[[Cuts], T]) -> T:
        return await self._world.cutter.settled(self._node.server, self.step_id, evaluate)

    def emit(self, event: Event) -> None:
        self._world.emit(event)

    def monotonic(self) -> float:
        return self._world.clock.monotonic()


def error_value(error: StepError, attempts: int, fallback: Mark) -> dict[str, Json]:
    """A failure as the step's `error`."""
    return {"kind": error.kind, "message": error.message, "attempts": attempts, "at": str(error.mark or fallback)}
