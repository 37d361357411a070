"""The kind `check`: expressions that must be true, or the run ends with exit code 5."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.steps.base import Result, StepContext, StepKeys, Verdict


class CheckStep(StepKeys):
    """Fail with exit code 5 unless every expression is true."""

    kind: ClassVar[str] = "check"
    body_keys: ClassVar[tuple[str, ...]] = ("check",)
    runs_on: ClassVar = "loop"
    conditions_key: ClassVar[str | None] = "check"
    free_to_repeat: ClassVar[bool] = True

    check: Annotated[list[str | bool], Field(min_length=1)]
    """Expressions; each false one is shown with its values."""

    async def run(self, context: StepContext) -> Result:
        require(await context.conditions(), "check")
        return Result(True)


def require(verdicts: list[Verdict], what: str) -> None:
    """Raise a `check` error that shows every condition that did not hold, at the first one's place."""
    false = [verdict for verdict in verdicts if not verdict.held]
    if false:
        raise StepError("check", f"{what} is false: " + "; ".join(map(str, false)), mark=false[0].mark)
