"""Ends the run of an untrusted flow once its record is too large: what a run keeps, it puts on record."""

from __future__ import annotations

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Stamped, TokensArrived
from gptoss_flow.record.codec import encode
from gptoss_flow.record.turns import Turns

MAX_RECORD = 256 * 2**20
"""Bytes of events. Each expression is bounded by itself; a hundred thousand items could still fill a disk."""


class RecordBound:
    """A sink."""

    def __init__(self, most: int = MAX_RECORD) -> None:
        self._most = self._left = most
        self._turns = Turns()

    def take(self, stamped: Stamped) -> None:
        """Raises `RecordError`."""
        if not isinstance(stamped.event, TokensArrived):
            line = encode(self._turns.shortened(stamped))
            self._turns.passed(stamped, line)
            self._left -= len(line)
        if self._left < 0:
            raise RecordError(f"the record of an untrusted flow may have at most {self._most / 2**20:g} MiB")

    def close(self) -> None:
        pass
