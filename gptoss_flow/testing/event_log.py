"""The sink that tests read: every event of a run, in a list."""

from __future__ import annotations

from typing import TypeVar

from gptoss_flow.events import Event, Stamped

E = TypeVar("E")


class EventLog:
    def __init__(self) -> None:
        self.stamped: list[Stamped] = []
        self.closed = False

    def take(self, stamped: Stamped) -> None:
        self.stamped.append(stamped)

    def close(self) -> None:
        self.closed = True

    @property
    def events(self) -> list[Event]:
        return [stamped.event for stamped in self.stamped]

    @property
    def types(self) -> list[str]:
        """The events' type words, in order."""
        return [event.type for event in self.events]

    def of(self, event_type: type[E]) -> list[E]:
        """The events of one class, in order."""
        return [event for event in self.events if isinstance(event, event_type)]

    def for_step(self, step: str) -> list[Event]:
        """The events of a step (or item) by its id, those of its items not among them."""
        return [event for event in self.events if getattr(event, "step", None) == step]
