"""What a person is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from gptoss_flow.events import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A call of a tool that a person is to decide."""

    step: str
    call_id: str
    tool: str
    arguments: Mapping[str, Json]


Ask = Callable[[Asking], Awaitable[Literal["approved", "declined", "unasked"]]]
"""Shows a call to whoever may decide on it, and waits; `unasked`: there is nobody."""


async def nobody(asking: Asking) -> Literal["unasked"]:
    """The `Ask` of a run without a terminal."""
    return "unasked"
