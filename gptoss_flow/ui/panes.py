"""The fold of a run's calls of `ui_pane`: which panes there are, and how each of them came to be so."""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from gptoss_flow.events import Event, Json, ToolFinished, ToolStarted
from gptoss_flow.tools.ui_pane.panes import Pane, Panes, with_pane

_TOOL = "ui_pane"


@dataclass(frozen=True, slots=True)
class PaneChange:
    """A call that made a pane, or changed one."""

    time: float
    """Seconds since 1970."""
    step: str
    action: str
    pane: Pane
    """As it was then."""


@dataclass(slots=True)
class Version:
    """A pane from one change to another: `since` and `until` count changes, from 1; None: to the end."""

    pane: Pane
    since: int
    until: int | None = None


@dataclass(slots=True)
class Screen:
    """Grows by `apply`. What a record says that is no pane is passed over."""

    panes: Panes = field(default_factory=dict)
    changes: list[PaneChange] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    _begun: dict[str, str] = field(default_factory=dict)
    """Calls that have not ended, each with its action."""

    def apply(self, event: Event, time: float) -> None:
        if isinstance(event, ToolStarted) and event.tool == _TOOL:
            self._begun[event.call_id] = str(event.arguments.get("action", ""))
        elif isinstance(event, ToolFinished) and event.tool == _TOOL:
            action = self._begun.pop(event.call_id, "")
            pane = None if event.error is not None else _pane(event.result)
            if pane is not None:
                self._change(PaneChange(time, event.step, action, pane))

    def _change(self, change: PaneChange) -> None:
        before = self.panes
        self.panes = with_pane(before, change.pane)
        self.changes.append(change)
        number = len(self.changes)
        for key, pane in self.panes.items():
            if pane is not before.get(key):
                self._end(key, number)
                self.versions.append(Version(pane, number))

    def _end(self, key: str, number: int) -> None:
        for version in reversed(self.versions):
            if version.pane.id == key:
                version.until = number
                return


def left_by(changes: Iterable[PaneChange], steps: Container[str]) -> Panes:
    """The panes as these steps left them: what others did to them is not counted."""
    panes: Panes = {}
    for change in changes:
        if change.step in steps:
            panes = with_pane(panes, change.pane)
    return panes


def _pane(result: Json) -> Pane | None:
    told: Any = result.get("pane") if isinstance(result, dict) else None
    try:
        return Pane.model_validate(told)
    except ValidationError:
        return None
