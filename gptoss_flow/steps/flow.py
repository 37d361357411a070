"""The kind `flow`: a flow inside a flow."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from gptoss_flow.steps.base import Result, StepContext, StepKeys


class FlowStep(StepKeys):
    """Run another flow."""

    kind: ClassVar[str] = "flow"
    body_keys: ClassVar[tuple[str, ...]] = ("flow", "with")
    runs_on: ClassVar = "flow"

    flow: str
    """The other flow's file, relative to this one's folder."""
    with_: Annotated[dict[str, Any], Field(alias="with", default_factory=dict)]
    """Its inputs."""

    async def run(self, context: StepContext) -> Result:
        return Result(await context.enter((await context.body()).get("with", {})))
