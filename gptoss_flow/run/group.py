"""A flow while it runs: the run's own, or one inside a step. Its names, results, items, failures and outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json, Outcome, OutcomeWord, RunStatus, StepFinished
from gptoss_flow.lang.inputs import bind
from gptoss_flow.plan.decisions import Unit
from gptoss_flow.plan.plan import Node, Values, unit_id
from gptoss_flow.refs import Allowance
from gptoss_flow.run.context import Scope, World, permissions_of, render
from gptoss_flow.run.ends import Failures
from gptoss_flow.run.items import Items
from gptoss_flow.run.known import Key

SUCCEEDED = Outcome("succeeded")


@dataclass(slots=True)
class Fallen:
    """A unit that failed and whose fallback runs, or is to."""

    error: dict[str, Json]
    began: float
    key: Key


@dataclass(frozen=True, slots=True)
class End:
    """How a unit came to its end."""

    duration_s: float = 0.0
    items: int | None = None
    """None: it is no fan-out."""
    key: Key = field(default_factory=dict)
    reused: str = ""


class Group:
    """The state of one flow. `id` is that of the unit it is inside of, empty for the run's own."""

    def __init__(self, group_id: str, world: World, scope: Scope) -> None:
        self.id = group_id
        self.world = world
        self.plan = world.plan
        self.results: dict[str, dict[str, Json]] = {}
        self.scope: dict[str, Any] = {**scope, "steps": self.results}
        self.items: dict[str, Items] = {}
        self.fallen: dict[Unit, Fallen] = {}
        self.failures = Failures()
        self.ended = asyncio.Event()
        self.left_out: Collection[str] = ()
        """Steps that do not run because they were not selected."""
        self.is_given_up = False
        """Whoever waited for its end waits no longer."""
        self._cut: dict[str, Json | StepError] = {}
        """Outputs that cut texts, or why they could not."""

    def scope_of(self, unit: Unit) -> Scope:
        """The names that a unit sees."""
        if unit.index is None:
            return self.scope
        return {**self.scope, **self.items[unit.node].scope(unit.index)}

    def shown(self, unit: Unit) -> dict[str, Json]:
        """What tells an item from others."""
        return {} if unit.index is None else self.items[unit.node].shown(unit.index)

    def finish(self, unit: Unit, outcome: Outcome, end: End) -> None:
        """Record the end of a unit, then let other steps see its result: record before claim."""
        whole = end.items is None  # of a fan-out only the items carry outputs
        self.world.emit(
            StepFinished(
                step=unit.id,
                outcome=outcome.outcome,
                output=outcome.output if whole else None,
                fields=outcome.fields if whole else {},
                error=outcome.error,
                reason=outcome.reason,
                duration_s=end.duration_s,
                items=end.items,
                key=dict(end.key),
                reused=end.reused,
            )
        )
        if unit.index is not None:
            self.items[unit.node].outcomes[unit.index] = outcome
            return
        result: dict[str, Json] = {"outcome": outcome.outcome, "error": outcome.error, **outcome.fields}
        if outcome.outcome == "succeeded" or self.plan.nodes[unit.node].step.on_error == "continue":
            result["output"] = outcome.output  # of a step that has no result it is undefined
        self.results[unit.node] = result

    def gather(self, node_id: str, word: OutcomeWord, failed_item: int | None) -> tuple[Outcome, Items]:
        """The result of a fan-out: every field is a list in item order, null where an item has none."""
        node, items = self.plan.nodes[node_id], self.items[node_id]
        outcomes = [items.outcomes.get(i, SUCCEEDED) for i in range(len(items))]
        steps = [node.step, *((node.fallback.step,) if node.fallback else ())]
        names = dict.fromkeys(name for step in steps for name in step.result_fields)
        fields = {name: [one.fields.get(name) for one in outcomes] for name in names}
        error = None
        if failed_item is not None:
            cause = items.outcomes[failed_item].error or {}
            error = {**cause, "message": f"{unit_id(node_id, failed_item)}: {cause.get('message', '')}"}
        return Outcome(word, [one.output for one in outcomes], fields, error), items

    def begin_final(self, status: RunStatus) -> None:
        """From now on its expressions see how the run went."""
        self.scope["run"] = {**self.scope.get("run", {}), "status": status}

    def outputs(self) -> tuple[dict[str, Json], list[StepError]]:
        """What the flow gives; null for what can't be computed, with the reason."""
        if self.plan.outputs is None:
            last = self._last_step()
            return {last: self.results.get(last, {}).get("output")}, []
        found: dict[str, Json] = {}
        faults = []
        for name, values in self.plan.outputs.items():
            try:
                found[name] = self._output(name, values)
            except StepError as error:
                found[name] = None
                if not self._reads_left_out(values):
                    faults.append(error)
        return found, faults

    def _last_step(self) -> str:
        """The last one in file order that has a part in the run."""
        flow = self.plan.loaded.flow
        chosen = [step for step in flow.steps if step not in self.left_out] if flow and self.left_out else []
        return chosen[-1] if chosen else self.plan.last_step

    def _output(self, name: str, values: Values) -> Json:
        if not values.compiled.uses_tokens:
            return render(self.plan, values, self.scope)
        mark = self.plan.place(values.path)
        value = self._cut.get(name, StepError("cancelled", "its text was not cut: the run was ended", mark=mark))
        if isinstance(value, StepError):
            raise value
        return value

    async def cut_outputs(self) -> None:
        """Compute the outputs that cut texts, while there is a server to do it."""
        for name, values in (self.plan.outputs or {}).items():
            if values.compiled.uses_tokens:
                try:
                    self._cut[name] = await self._settled(values)
                except StepError as error:
                    self._cut[name] = error

    async def add_late_vars(self) -> None:
        """Raises `StepError`."""
        for name, values in self.plan.late_vars:
            self.scope["vars"] = {**self.scope["vars"], name: await self._settled(values)}

    async def _settled(self, values: Values) -> Json:
        return await self.world.cutter.settled(
            self.plan.tokenizer, self.id, lambda cuts: render(self.plan, values, self.scope, cuts)
        )

    def _reads_left_out(self, values: Values) -> bool:
        steps = (one.path[0] for _, one in values.compiled.references if one.root == "steps" and one.path)
        return any(step in self.left_out for step in steps)

    def result(self) -> dict[str, Json]:
        """The outputs of a flow inside a step. Raises `StepError` where it failed."""
        if self.failures.first is not None:
            said = f"{self.plan.loaded.path.name}: {self.failures.line}"
            raise StepError(self.failures.first["kind"], said, exit_code=self.failures.code)
        if self.is_given_up:
            raise StepError("cancelled", f"{self.plan.loaded.path.name}: stopped", retryable=False)
        outputs, faults = self.outputs()
        if faults:
            raise faults[0]
        return outputs


def inner_group(
    outer: Group, node: Node, group_id: str, given: Mapping[str, Json], environ: Mapping[str, str]
) -> Group:
    """The flow inside a step, its inputs checked and its vars computed. Raises `StepError`."""
    plan = node.inner
    assert plan is not None
    assert plan.loaded.flow is not None
    # The caller of this flow is the outer one, whose paths are relative to the workspace.
    inputs, faults = bind(plan.loaded.flow.inputs, given, outer.world.tool_context.workspace)
    if faults:
        mark = outer.plan.place((*node.body.path, "with"))
        raise StepError("expression", f"{plan.loaded.path.name}: {faults[0].message}", mark=mark, retryable=False)
    secrets = outer.scope.get("secrets", {})
    scope: dict[str, Any] = {
        "inputs": inputs,
        "env": {name: environ[name] for name in plan.loaded.flow.env if name in environ},
        "secrets": {name: secrets[name] for name in plan.secrets if name in secrets},
        "flow": {"name": plan.name, "dir": str(plan.loaded.folder)},
        "run": outer.scope.get("run", {}),
        "vars": {},
    }
    allowance = Allowance()
    for name, values in plan.vars:
        scope["vars"] = {**scope["vars"], name: render(plan, values, scope, allowance=allowance)}
    tools = outer.world.inner_tools(plan) if outer.world.inner_tools else outer.world.tools
    bound = (*outer.world.outer, permissions_of(outer.plan, outer.plan.permissions, outer.scope))
    return Group(group_id, replace(outer.world, plan=plan, tools=tools, outer=bound), scope)
