"""What the frontier says and of what it says it: units, and the decisions that the loop acts on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gptoss_flow.events import OutcomeWord
from gptoss_flow.plan.plan import unit_id

ROOT = ""
"""The group of the run's own flow."""


class Unit(NamedTuple):
    """What runs as one: a step, or one item of a fan-out, in the flow of a group."""

    group: str
    """The id of the unit that the flow is inside of."""
    node: str
    index: int | None = None  # type: ignore[assignment]  # it hides tuple.index, which nobody asks a unit for

    @property
    def id(self) -> str:
        step = f"{self.group}.{self.node}" if self.group else self.node
        return unit_id(step, self.index)


@dataclass(frozen=True, slots=True)
class Consider:
    """Would this unit run at all? Answer with `queue` where it would, else with `settled`. It has no place yet."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class Expand:
    """Evaluate this step's items, then answer with `expanded`, or with `settled` where that failed."""

    unit: Unit


@dataclass(frozen=True, slots=True)
class Start:
    """Run this unit, or its fallback, now, then answer with `settled`."""

    unit: Unit
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Skip:
    """This step will not run. It needs no answer."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True)
class Gather:
    """All items of this fan-out that ran have ended, and so has the step. It needs no answer."""

    unit: Unit
    outcome: OutcomeWord
    failed_item: int | None = None


@dataclass(frozen=True, slots=True)
class Finalize:
    """All steps of this group have ended, and it has some that run last: answer with `begin_final`."""

    group: str


@dataclass(frozen=True, slots=True)
class Close:
    """Everything in this group has ended. It needs no answer."""

    group: str


Decision = Consider | Expand | Start | Skip | Gather | Finalize | Close
