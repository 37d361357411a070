"""Runs one unit, a step or an item, to its single end: rounds, attempts, time limit, expectations."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Outcome, RoundFinished, StepRetried
from gptoss_flow.fields import RENDERED
from gptoss_flow.plan.decisions import Unit
from gptoss_flow.plan.plan import Condition, Node, Plan
from gptoss_flow.refs import Cuts
from gptoss_flow.run.context import Context, Scope, World, error_value, judge, render
from gptoss_flow.steps.base import CommonKeys, Feedback, Result, Retry, UnitKeys, Verdict
from gptoss_flow.steps.check import require

ONCE = Retry(attempts=1)


def unit_keys(plan: Plan, node: Node, scope: Scope, cuts: Cuts | None = None) -> CommonKeys | UnitKeys:
    """timeout, retry and repeat with their values. Raises `StepError`, `NeedsTokens`."""
    if node.common.compiled.constant:
        return node.step
    try:
        return UnitKeys.model_validate(render(plan, node.common, scope, cuts), context=RENDERED)
    except ValidationError as error:
        raise _wrong_value(error, plan, node) from None


async def run_unit(
    world: World, node: Node, unit: Unit, scope: Scope, *, first_attempt: int = 1
) -> tuple[Outcome, ExitCode]:
    """The unit's outcome, and the exit code that it means where nothing handles it. Raises only for bugs.

    `first_attempt`: the number of its first try, above 1 for a fallback.
    """
    work = _Unit(world, node, unit, first_attempt)
    late: float | None = None
    try:
        keys = await world.cutter.settled(
            node.server, unit.id, lambda cuts: unit_keys(world.plan, node, scope, cuts)
        )
        late = None if keys.timeout is None else float(keys.timeout)
        async with asyncio.timeout(late) as limit:
            result = await work.rounds(keys, scope)
        return Outcome("succeeded", result.output, result.fields), ExitCode.OK
    except StepError as error:
        return work.failed(error)
    except TimeoutError:
        if not limit.expired():
            raise
        return work.failed(StepError("timeout", f"took longer than its timeout of {late:g} s"))


class _Unit:
    """One unit while it runs; `attempt` counts over all of its rounds."""

    def __init__(self, world: World, node: Node, unit: Unit, first_attempt: int) -> None:
        self._world = world
        self._node = node
        self._unit = unit
        self._attempt = first_attempt

    async def rounds(self, keys: CommonKeys | UnitKeys, scope: Scope) -> Result:
        rule, limits = self._node.repeat, keys.repeat
        if rule is None or limits is None:
            return await self._tries(keys.retry or ONCE, scope)
        most = int(limits.max)
        for number in range(1, most + 1):
            loop = {
                "index": number,
                "index0": number - 1,
                "length": most,
                "first": number == 1,
                "last": number == most,
            }
            here = {**scope, "loop": loop}
            result = await self._tries(keys.retry or ONCE, here)
            verdict = await self._holds(rule.until, {**here, "output": result.output})
            if verdict.held:
                return result
            if number < most:
                delay_s = float(limits.delay)
                self._world.emit(
                    RoundFinished(step=self._unit.id, round=number, output=result.output, delay_s=delay_s)
                )
                self._attempt += 1
                await self._world.clock.sleep(delay_s)
        raise StepError("check", f"not so after {most} rounds: {verdict}", mark=verdict.mark)

    async def _holds(self, condition: Condition, scope: Scope) -> Verdict:
        world = self._world
        return await world.cutter.settled(
            self._node.server, self._unit.id, lambda cuts: judge(world.plan, condition, scope, cuts)
        )

    async def _tries(self, retry: Retry, scope: Scope) -> Result:
        feedback: Feedback | None = None
        tried = 1
        while True:
            context = Context(self._world, self._node, self._unit.id, self._attempt, scope, feedback)
            try:
                return await self._try(context)
            except StepError as error:
                if not (error.retryable and error.kind in retry.on and tried < int(retry.attempts)):
                    raise
                delay_s = _delay(retry, tried)
                self._world.emit(
                    StepRetried(
                        step=self._unit.id,
                        attempt=self._attempt,
                        attempts=self._attempt - tried + int(retry.attempts),
                        error=error_value(error, self._attempt, self._node.mark),
                        delay_s=delay_s,
                    )
                )
                await self._world.clock.sleep(delay_s)
                said = Feedback(context.answer, error.message, context.conversation)
                feedback = said if retry.feedback else None
                tried += 1
                self._attempt += 1

    async def _try(self, context: Context) -> Result:
        try:
            result = await self._node.step.run(context)
        except ValidationError as error:
            raise _wrong_value(error, self._world.plan, self._node) from None
        finally:
            await context.aclose()
        if self._node.expect:
            require(await context.expectations(result.output), "expect")
        return result

    def failed(self, error: StepError) -> tuple[Outcome, ExitCode]:
        said = error_value(error, self._attempt, self._node.mark)
        return Outcome("failed", error=said), error.exit_code


def _delay(retry: Retry, tried: int) -> float:
    delay = min(float(retry.backoff) * 2.0 ** (tried - 1), float(retry.max_backoff))
    return delay * random.uniform(0.5, 1.0) if retry.jitter else delay


def _wrong_value(error: ValidationError, plan: Plan, node: Node) -> StepError:
    """An expression gave a value that its key does not allow."""
    first = error.errors()[0]
    within = _existing(first["loc"], plan, node)
    path = (*node.body.path, *within)
    where = ".".join(map(str, within)) or node.step.kind
    said = first["msg"].removeprefix("Input ").removeprefix("Value ")
    return StepError("expression", f"{where}: {first['input']!r} {said}", mark=plan.place(path), retryable=False)


def _existing(loc: tuple[str | int, ...], plan: Plan, node: Node) -> list[str | int]:
    """pydantic puts names of unions' members into `loc`: keep the parts that are in the file."""
    data, found = _written(plan, node), list[str | int]()
    loc = loc if loc and loc[0] in data else (node.step.kind, *loc)
    for part in loc:
        in_mapping = isinstance(data, dict) and part in data
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            found.append(part)
            data = data[part]
    return found


def _written(plan: Plan, node: Node) -> Any:
    """The step's data, at the path where its body stands."""
    data: Any = plan.loaded.data
    for part in node.body.path:
        data = data[part]
    return data
