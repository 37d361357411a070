"""The end of an rlog that may still grow: its last lines, and what is added, through truncation and rotation."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from gptoss_flow.errors import Problem, RecordError
from gptoss_flow.ports import Clock
from gptoss_flow.record.append import record_error
from gptoss_flow.record.rlog_read import LONGEST_LINE, line_text

POLL_S = 0.2
_BLOCK = 2**20


class RlogTail:
    """A place in a growing file. Only whole lines are given out; a torn one waits for its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._torn = b""
        self.notes: list[str] = []
        """What happened to the file since this was last emptied: "truncated", "replaced"."""

    def last(self, lines: int, *, with_torn: bool = True) -> list[str]:
        """The last lines; the torn one at the end waits for its end unless `with_torn`. Raises `RecordError`."""
        try:
            file = self._file = self._path.open("rb")
            file.seek(_start_of_last(file, lines))
            data = file.read()
        except OSError as error:
            raise record_error("read", self._path, error) from error
        *whole, self._torn = data.split(b"\n")
        found = _texts(whole)
        return [*found, *_texts([self._torn])] if with_torn and lines and self._torn else found

    def added(self) -> list[str]:
        """The lines that were finished since, also of a file that has taken the place of the first one.

        Raises `RecordError` where the folder has gone, or the file cannot be read.
        """
        try:
            there = self._status()
            found = self._read_on()
            if there is not None and (self._file is None or not _is_same(there, self._file)):
                if self._file is not None:
                    self._file.close()
                    self.notes.append("replaced")
                self._file, self._torn = self._path.open("rb"), b""
                found += self._read_on()
        except OSError as error:
            raise record_error("read", self._path, error) from error
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _status(self) -> os.stat_result | None:
        """Of what stands at the path now; None while nothing does, as between the two steps of a rotation."""
        try:
            return self._path.stat()
        except FileNotFoundError:
            if not self._path.parent.is_dir():
                said = f"cannot follow {self._path}: its folder was removed"
                raise RecordError(Problem(None, said, "nothing more can come")) from None
            return None

    def _read_on(self) -> list[str]:
        if self._file is None:
            return []
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._torn = b""
            self.notes.append("truncated")
        lines: list[str] = []
        while block := self._file.read(_BLOCK):
            *whole, self._torn = (self._torn + block).split(b"\n")
            lines += _texts(whole)
            if len(self._torn) > LONGEST_LINE:
                lines += _texts([self._torn])
                self._torn = b""
        return lines


async def follow(tail: RlogTail, clock: Clock) -> AsyncIterator[list[str]]:
    """The lines that are added, as they come, without end. Raises `RecordError`."""
    while True:
        if lines := tail.added():
            yield lines
        await clock.sleep(POLL_S)


def _texts(lines: list[bytes]) -> list[str]:
    return [line_text(line + b"\n") for line in lines]


def _is_same(there: os.stat_result, file: BinaryIO) -> bool:
    here = os.fstat(file.fileno())
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _start_of_last(file: BinaryIO, lines: int) -> int:
    """Where the last lines begin; a torn one at the end is one of them."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return 0
    file.seek(end - 1)
    wanted = max(1, lines + (file.read(1) == b"\n"))
    while end:
        start = max(0, end - 65536)
        file.seek(start)
        block = file.read(end - start)
        if (seen := block.count(b"\n")) >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rfind(b"\n", 0, at)
            return start + at + 1
        wanted -= seen
        end = start
    return 0
