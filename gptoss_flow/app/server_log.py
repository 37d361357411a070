"""Reads a server's log: its last lines, and what is added while somebody follows it."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator
from pathlib import Path

from gptoss_flow.errors import Unavailable
from gptoss_flow.ports import Clock
from gptoss_flow.server.process import Lease
from gptoss_flow.server.verbs import Running

POLL_S = 0.2
SEEN_BYTES = 256
"""How much of what was read last is remembered, to find the place again in a log that was cut."""


class LogReader:
    """A place in a log from which one reads on, although the log's older half may be dropped meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._seen = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read_last(self, lines: int) -> str:
        """The last lines that there are by now. Raises `Unavailable`."""
        there = self._read().splitlines(keepends=True)
        return self._decoder.decode(b"".join(there[max(0, len(there) - lines) :]))

    def read_on(self) -> str:
        """What was added since. Raises `Unavailable`."""
        return self._decoder.decode(self._read())

    def _read(self) -> bytes:
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    file.seek(0)
                    self._offset = self._place_of_seen(file.read())
                file.seek(self._offset)
                data = file.read()
        except OSError as error:
            raise Unavailable(f"the log {self._path} cannot be read: {error.strerror}") from None
        self._offset += len(data)
        self._seen = (self._seen + data)[-SEEN_BYTES:]
        return data

    def _place_of_seen(self, text: bytes) -> int:
        found = text.rfind(self._seen)
        return found + len(self._seen) if found >= 0 else 0


async def follow(reader: LogReader, running: Running | None, clock: Clock) -> AsyncIterator[str]:
    """What is added to a server's log, as it comes, until the server has ended. Raises `Unavailable`."""
    lease = await Lease.look(Path(running.record.socket)) if running else None
    try:
        while True:
            is_last = lease is None or lease.gone.done()
            if text := reader.read_on():
                yield text
            if is_last:
                return
            await clock.sleep(POLL_S)
    finally:
        if lease is not None:
            await lease.close()
