"""What need not run again: results of an interrupted run that is resumed, or of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gptoss_flow.events import Outcome
from gptoss_flow.plan.plan import Node

Key = Mapping[str, str]
"""What decides a result, part by part, each as a short hash (see `run.key`); empty where it can't be told."""


@dataclass(frozen=True, slots=True)
class Reused:
    """A result that stands for a unit's own, and the run that it is from."""

    outcome: Outcome
    run_id: str


class Known(Protocol):
    """Asked before a unit runs, told after one succeeded."""

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None: ...

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        """Called once the outcome is on record. Must not fail: a result that can't be kept is run again."""


class _Nothing:
    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        return None

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        pass


NOTHING_KNOWN: Known = _Nothing()
"""Of a run that starts anew and keeps nothing."""
