"""The table of kinds. A new kind is one file in this folder and one line here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from gptoss_flow.steps import base
from gptoss_flow.steps.base import StepKeys
from gptoss_flow.steps.bench import BenchStep
from gptoss_flow.steps.check import CheckStep
from gptoss_flow.steps.flow import FlowStep
from gptoss_flow.steps.prompt import PromptStep
from gptoss_flow.steps.set import SetStep
from gptoss_flow.steps.tool import ToolStep

KINDS: dict[str, type[StepKeys]] = {
    "prompt": PromptStep,
    "tool": ToolStep,
    "bench": BenchStep,
    "flow": FlowStep,
    "set": SetStep,
    "check": CheckStep,
}


def kind_of(data: Any) -> str | None:
    """The kind of a step as written: the one kind key that it has; None where there is none, or several."""
    if isinstance(data, dict):
        found = KINDS.keys() & data
        return found.pop() if len(found) == 1 else None
    return data.kind if isinstance(data, StepKeys) else None


Step = Annotated[
    Annotated[PromptStep, Tag("prompt")]
    | Annotated[ToolStep, Tag("tool")]
    | Annotated[BenchStep, Tag("bench")]
    | Annotated[FlowStep, Tag("flow")]
    | Annotated[SetStep, Tag("set")]
    | Annotated[CheckStep, Tag("check")],
    Discriminator(
        kind_of,
        custom_error_type="step_kind",
        custom_error_message=f"needs exactly one of the kinds {', '.join(KINDS)}",
    ),
]
"""A step of any kind."""

# A fallback is a step of any kind, which the file of common keys cannot know.
base.AnyStep = Step  # type: ignore[assignment]
