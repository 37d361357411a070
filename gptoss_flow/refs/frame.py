"""One rendering: the names in scope, the output so far, and what is left of its budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError
from gptoss_flow.refs.values import MAX_TEXT, to_text, too_long, weigh

WORK: Final = 3_000_000
"""What one rendering may cost, in quarters of a microsecond, about: 1 for a node of an expression, an item and
16 characters that a filter takes or gives, `ROUND` for a round of a loop, `CALL` for a filter or test."""
ROUND: Final = 3
CALL: Final = 8


class Allowance:
    """What several strings may make and cost together, each of them within its own bounds."""

    __slots__ = ("room", "work")

    def __init__(self, times: int = 4) -> None:
        """`times` as much as for one."""
        self.room = times * MAX_TEXT
        self.work = times * WORK

    def is_spent(self) -> bool:
        return self.room < 0 or self.work < 0


class Frame:
    """`misses` are the texts that `truncate_tokens` could not cut; `occurrence` is the tag that runs now."""

    __slots__ = ("allowance", "cuts", "misses", "names", "occurrence", "parts", "room", "work")

    def __init__(
        self,
        names: Mapping[str, Any],
        cuts: Mapping[tuple[str, int], str] | None,
        allowance: Allowance | None = None,
    ) -> None:
        self.names = names
        self.cuts = cuts or {}
        self.misses: set[tuple[str, int]] = set()
        self.parts: list[str] = []
        self.room = MAX_TEXT if allowance is None else min(MAX_TEXT, allowance.room)
        self.work = WORK if allowance is None else min(WORK, allowance.work)
        self.allowance = allowance
        self.occurrence = 0

    def close(self) -> None:
        """Take what was used from the allowance."""
        if (allowance := self.allowance) is not None:
            allowance.room -= min(MAX_TEXT, allowance.room) - self.room
            allowance.work -= min(WORK, allowance.work) - self.work

    def spend(self, cost: int) -> None:
        self.work -= cost
        if self.work < 0:
            raise EvaluationError(
                "the template takes too long to render: it may do about a million rounds of a loop",
                "loop over less, or do this work in a tool step",
            )

    def spend_on(self, *values: Json) -> None:
        """Pay for a walk through everything in these values."""
        for value in values:
            if isinstance(value, str):
                self.spend(len(value) >> 4)
            elif isinstance(value, list | dict):
                self.spend(weigh(value))

    def write(self, value: Json) -> None:
        if not isinstance(value, str):
            self.spend_on(value)
            value = to_text(value)
        self.room -= len(value)
        if self.room < 0:
            raise too_long()
        self.parts.append(value)
