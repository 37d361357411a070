"""The table of kinds. A new kind is one file in this folder and one line here."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from gptoss_flow.steps.base import StepKeys
from gptoss_flow.steps.check import CheckStep
from gptoss_flow.steps.prompt import PromptStep
from gptoss_flow.steps.set import SetStep
from gptoss_flow.steps.tool import ToolStep

KINDS: dict[str, type[StepKeys]] = {
    "prompt": PromptStep,
    "tool": ToolStep,
    "set": SetStep,
    "check": CheckStep,
}


def kind_of(data: Any) -> str | None:
    """The kind of a step as written: the one kind key that it has; None where there is none, or several."""
    if isinstance(data, StepKeys):
        return data.kind
    found = [kind for kind in KINDS if kind in data] if isinstance(data, dict) else []
    return found[0] if len(found) == 1 else None


Step = Annotated[
    Annotated[PromptStep, Tag("prompt")]
    | Annotated[ToolStep, Tag("tool")]
    | Annotated[SetStep, Tag("set")]
    | Annotated[CheckStep, Tag("check")],
    Discriminator(
        kind_of,
        custom_error_type="step_kind",
        custom_error_message=f"needs exactly one of the kinds {', '.join(KINDS)}",
    ),
]
"""A step of any kind."""
