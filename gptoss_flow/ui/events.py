"""The view for machines: every event of a run as one line of JSON, the last one with the run's summary."""

from __future__ import annotations

import json
from typing import Any, TextIO

from gptoss_flow.events import RunFinished, Stamped, TokensArrived
from gptoss_flow.record.codec import encode


class EventLines:
    """Writes each recorded event as it happens, whole (see `record.turns`). Falls silent when it can't."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._last: Stamped | None = None
        self._failure: OSError | None = None

    def take(self, stamped: Stamped) -> None:
        if isinstance(stamped.event, RunFinished):
            self._last = stamped  # `end` writes it, with the summary
        elif not isinstance(stamped.event, TokensArrived):
            self._write(encode(stamped).decode())

    def end(self, summary: dict[str, Any]) -> None:
        """The line of type `run_finished`, with the keys of `--json`. Raises what kept one from being written."""
        event = json.loads(encode(self._last)) if self._last else {"type": "run_finished"}
        event.pop("crc", None)
        self._write(json.dumps(event | summary) + "\n")
        if self._failure is not None and not isinstance(self._failure, BrokenPipeError):
            raise self._failure  # a reader may leave when it has seen enough

    def close(self) -> None:
        pass

    def _write(self, line: str) -> None:
        if self._failure is None:
            try:
                self._out.write(line.replace("\x7f", r"\u007f"))  # the one control character that JSON allows
                self._out.flush()
            except OSError as error:
                # A closed pipe, a full disk: the run goes on.
                self._failure = error
