"""What the journal needs: a clock that stamps events, and sinks that take them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from gptoss_flow.events import Event, Stamped


class Clock(Protocol):
    """Time as the program sees it; `testing.ManualClock` moves only when told."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""

    async def sleep(self, seconds: float) -> None: ...


class Sink(Protocol):
    """Takes each event of a run as it happens. `take` raises `RecordError` if a promised write failed."""

    def take(self, stamped: Stamped) -> None: ...

    def close(self) -> None: ...


Emit = Callable[[Event], None]

Redact = Callable[[Event], Sequence[Event]]
"""What is to be recorded and shown in place of an event: mostly itself, without secrets."""
