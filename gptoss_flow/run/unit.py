"""Runs one unit, a step or an item, to its single end: attempts, time limit, expectations."""

from __future__ import annotations

import asyncio
import random

from pydantic import ValidationError

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.events import Outcome, StepRetried
from gptoss_flow.fields import RENDERED
from gptoss_flow.plan.frontier import Unit
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.run.context import Context, Scope, World, error_value, render
from gptoss_flow.steps.base import CommonKeys, Result, Retry
from gptoss_flow.steps.check import require

ONCE = Retry(attempts=1)


def common_keys(plan: Plan, node: Node, scope: Scope) -> CommonKeys:
    """timeout, retry and max_parallel with their values. Raises `StepError`."""
    if node.common.compiled.constant:
        return node.step
    try:
        return CommonKeys.model_validate(render(plan, node.common, scope), context=RENDERED)
    except ValidationError as error:
        raise _wrong_value(error, plan, node) from None


async def run_unit(world: World, node: Node, unit: Unit, scope: Scope) -> tuple[Outcome, ExitCode]:
    """The unit's outcome, and the exit code that it means where nothing handles it. Raises only for bugs."""
    attempt = 1
    try:
        common = common_keys(world.plan, node, scope)
        retry = common.retry or ONCE
        async with asyncio.timeout(_seconds(common.timeout)) as limit:
            while True:
                try:
                    result = await _attempt(world, node, unit, attempt, scope)
                    return Outcome("succeeded", result.output, result.fields), ExitCode.OK
                except StepError as error:
                    if not _worth_another(error, retry, attempt):
                        raise
                    delay = _delay(retry, attempt)
                    said = error_value(error, attempt, node.mark)
                    attempts = int(retry.attempts)
                    world.emit(
                        StepRetried(step=unit.id, attempt=attempt, attempts=attempts, error=said, delay_s=delay)
                    )
                    await world.clock.sleep(delay)
                    attempt += 1
    except StepError as error:
        return Outcome("failed", error=error_value(error, attempt, node.mark)), error.exit_code
    except TimeoutError:
        if not limit.expired():
            raise
        late = StepError("timeout", f"took longer than its timeout of {common.timeout:g} s")
        return Outcome("failed", error=error_value(late, attempt, node.mark)), late.exit_code


async def _attempt(world: World, node: Node, unit: Unit, attempt: int, scope: Scope) -> Result:
    context = Context(world, node, unit.id, attempt, scope)
    try:
        result = await node.step.run(context)
    except ValidationError as error:
        raise _wrong_value(error, world.plan, node) from None
    if node.expect:
        require(context.expectations(result.output), "expect")
    return result


def _worth_another(error: StepError, retry: Retry, attempt: int) -> bool:
    return error.retryable and error.kind in retry.on and attempt < int(retry.attempts)


def _delay(retry: Retry, attempt: int) -> float:
    delay = min(float(retry.backoff) * 2.0 ** (attempt - 1), float(retry.max_backoff))
    return delay * random.uniform(0.5, 1.0) if retry.jitter else delay


def _seconds(timeout: float | str | None) -> float | None:
    return None if timeout is None else float(timeout)


def _wrong_value(error: ValidationError, plan: Plan, node: Node) -> StepError:
    """An expression gave a value that its key does not allow."""
    first = error.errors()[0]
    path = ("steps", node.id, *_existing(first["loc"], plan, node))
    where = ".".join(str(part) for part in path[2:]) or node.step.kind
    said = first["msg"].removeprefix("Input ").removeprefix("Value ")
    return StepError("expression", f"{where}: {first['input']!r} {said}", mark=plan.place(path), retryable=False)


def _existing(loc: tuple[str | int, ...], plan: Plan, node: Node) -> list[str | int]:
    """pydantic puts names of unions' members into `loc`: keep the parts that are in the file."""
    data, found = plan.loaded.data["steps"][node.id], list[str | int]()
    loc = loc if loc and loc[0] in data else (node.step.kind, *loc)
    for part in loc:
        in_mapping = isinstance(data, dict) and part in data
        in_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if in_mapping or in_list:
            found.append(part)
            data = data[part]
    return found
