"""The one place where events are numbered and stamped, and from which they go to whoever wants to know."""

from __future__ import annotations

from collections.abc import Sequence

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Event, Stamped, TokensArrived
from gptoss_flow.ports import Clock, Redact, Sink


class Journal:
    """Hands each event to its sinks in order. The journal file is the first: record before claim.

    Once a sink could not write, `failure` holds the error and every later `emit` raises it: nothing is
    claimed that is not on record. Any other exception of a sink is a bug and passes through.
    For one thread.
    """

    def __init__(
        self, sinks: Sequence[Sink], clock: Clock, *, first_seq: int = 1, redact: Redact | None = None
    ) -> None:
        """`first_seq` continues the numbers of an interrupted run. No sink sees what `redact` takes out."""
        self._sinks = tuple(sinks)
        self._clock = clock
        self._redact = redact
        self._next_seq = first_seq
        self._closed = False
        self.failure: RecordError | None = None

    def emit(self, event: Event) -> None:
        """Raises `RecordError`."""
        if self.failure is not None:
            raise self.failure
        if self._redact is None:
            self._send(event)
        else:
            for redacted in self._redact(event):
                self._send(redacted)

    def _send(self, event: Event) -> None:
        seq = 0
        if not isinstance(event, TokensArrived):
            seq = self._next_seq
            self._next_seq += 1
        stamped = Stamped(seq, self._clock.now().timestamp(), event)
        for sink in self._sinks:
            try:
                sink.take(stamped)
            except RecordError as error:
                self.failure = error
                raise

    def close(self) -> None:
        """Closes every sink, also after one that could not be. Raises the first `RecordError` not seen yet."""
        if self._closed:
            return
        self._closed = True
        unseen = None
        for sink in self._sinks:
            try:
                sink.close()
            except RecordError as error:
                unseen = unseen or (error if self.failure is None else None)
        if unseen is not None:
            self.failure = unseen
            raise unseen
