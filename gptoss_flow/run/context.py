"""What one attempt of a step sees of the run: its values, its model, its tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from gptoss_flow.errors import Invalid, Mark, StepError, Unavailable
from gptoss_flow.events import Event, Json, TextCut
from gptoss_flow.lang.document import Path
from gptoss_flow.plan.plan import Condition, Node, Plan, Values
from gptoss_flow.ports import Clock, Emit, Model, Models, Tool, ToolContext
from gptoss_flow.refs import Allowance, EvaluationError, NeedsTokens
from gptoss_flow.steps.base import Feedback, Verdict

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


def failed_expression(plan: Plan, error: EvaluationError, path: Path) -> StepError:
    """An expression's failure as a step's, with its place in the file."""
    said = f"{error.message}; {error.hint}" if error.hint else error.message
    return StepError("expression", said, mark=plan.place(path, error.occurrence), retryable=False)


def render(
    plan: Plan,
    values: Values,
    scope: Scope,
    cuts: Mapping[tuple[str, int], str] | None = None,
    allowance: Allowance | None = None,
) -> Any:
    """The values with every expression evaluated. Raises `StepError` at the place of the one that failed."""
    try:
        return values.compiled.render(scope, cuts, allowance)
    except EvaluationError as error:
        raise failed_expression(plan, error, error.path) from None


def judge(plan: Plan, condition: Condition, scope: Scope) -> Verdict:
    """Whether a condition holds, with the values that it names."""
    if condition.template is None:
        return Verdict(condition.text, condition.mark, condition.constant, ())
    try:
        held = bool(condition.template.render(scope))
    except EvaluationError as error:
        said = f"{error.message}; {error.hint}" if error.hint else error.message
        raise StepError("expression", said, mark=condition.mark, retryable=False) from None
    return Verdict(condition.text, condition.mark, held, condition.template.shown(scope))


class Context:
    """`steps.base.StepContext` for one attempt of one unit."""

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
        self.date = world.date

    @property
    def server(self) -> str:
        assert self._node.server is not None
        return self._node.server

    @property
    def tool_context(self) -> ToolContext:
        return replace(self._world.tool_context, step=self.step_id)

    async def body(self) -> Mapping[str, Any]:
        cuts: dict[tuple[str, int], str] = {}
        while True:
            try:
                return render(self._world.plan, self._node.body, self._scope, cuts)  # type: ignore[no-any-return]
            except NeedsTokens as needs:
                # Rendering is pure and synchronous; what it wants cut is cut here, and it begins anew.
                model = await self.model()
                for text, tokens in needs.cuts:
                    cut = cuts[text, tokens] = await model.truncate(text, tokens)
                    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
                    self.emit(
                        TextCut(
                            step=self.step_id,
                            server=self.server,
                            text_sha256=digest,
                            limit=tokens,
                            chars=len(cut),
                        )
                    )

    async def model(self) -> Model:
        try:
            return await self._world.models.get(self.server)
        except (Unavailable, Invalid) as error:
            raise StepError("server", str(error), retryable=False, exit_code=error.exit_code) from error

    async def enter(self, inputs: Mapping[str, Json]) -> Json:
        return await self._world.enter(self._node, self.step_id, inputs)

    def answered(self, text: str) -> None:
        self.answer = text

    def tool(self, name: str) -> Tool:
        return self._world.tools[name]

    def conditions(self) -> list[Verdict]:
        return [judge(self._world.plan, condition, self._scope) for condition in self._node.conditions]

    def expectations(self, output: Json) -> list[Verdict]:
        """The step's `expect`, over its output."""
        scope = {**self._scope, "output": output}
        return [judge(self._world.plan, condition, scope) for condition in self._node.expect]

    def emit(self, event: Event) -> None:
        self._world.emit(event)

    def monotonic(self) -> float:
        return self._world.clock.monotonic()


def error_value(error: StepError, attempts: int, fallback: Mark) -> dict[str, Json]:
    """A failure as the step's `error`."""
    return {"kind": error.kind, "message": error.message, "attempts": attempts, "at": str(error.mark or fallback)}
