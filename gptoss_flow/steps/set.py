"""The kind `set`: values computed without a model."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from gptoss_flow.fields import Identifier
from gptoss_flow.steps.base import Result, StepContext, StepKeys


class SetStep(StepKeys):
    """Compute values: templates or plain YAML, nested as you like."""

    kind: ClassVar[str] = "set"
    body_keys: ClassVar[tuple[str, ...]] = ("set",)
    runs_on: ClassVar = "loop"
    free_to_repeat: ClassVar[bool] = True

    set_: Annotated[dict[Identifier, Any], Field(alias="set")]
    """Names and values: `steps.<id>.output.<name>`."""

    async def run(self, context: StepContext) -> Result:
        return Result((await context.body())["set"])
