"""Event streams (WHATWG `text/event-stream`) read incrementally: bytes in, in any cut, events out.

Pure. Comments keep a connection alive and are no events; `retry` is ignored: a broken stream is never resumed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_END_OF_LINE = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class TooLarge(Exception):
    """A line, or the data of one event, is longer than allowed: the stream is not what it should be."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    data: str
    event: str = "message"
    id: str = ""


class EventStreamParser:
    """Feed it a response's bytes as they come. An event that the stream's end cuts off is never given out.

    `max_bytes` bounds one line, and the data of one event: whoever sends more cannot fill the memory.
    """

    def __init__(self, max_bytes: int = 8 * 2**20) -> None:
        self._max_bytes = max_bytes
        self._line = bytearray()
        self._after_cr = False
        self._at_start = True
        self._data = bytearray()
        self._event = ""
        self._id = ""

    def feed(self, chunk: bytes) -> list[StreamEvent]:
        """The events that `chunk` completes. Raises `TooLarge`."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")  # a CR has ended its line already; this LF belongs to it
            self._after_cr = False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        *complete, rest = _END_OF_LINE.split(chunk)
        events = []
        for part in complete:
            self._append(self._line, part)
            line = bytes(self._line)
            self._line.clear()
            if (event := self._take(line)) is not None:
                events.append(event)
        self._append(self._line, rest)
        return events

    def _append(self, buffer: bytearray, part: bytes) -> None:
        if len(buffer) + len(part) > self._max_bytes:
            raise TooLarge(f"a line or event of the stream is longer than {self._max_bytes} bytes")
        buffer += part

    def _take(self, line: bytes) -> StreamEvent | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._append(self._data, value + b"\n")
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        return None

    def _dispatch(self) -> StreamEvent | None:
        data, event = bytes(self._data), self._event
        self._data.clear()
        self._event = ""
        if not data:
            return None
        return StreamEvent(data[:-1].decode("utf-8", "replace"), event or "message", self._id)
