"""`events.jsonl`: the sink that writes a run's journal so that it survives a crash, and the reader of it."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from gptoss_flow.events import Stamped
from gptoss_flow.record.append import AppendFile, record_error
from gptoss_flow.record.codec import Damaged, DamageKind, UnknownType, decode, encode
from gptoss_flow.record.turns import Turns

SYNC_AFTER_S = 0.05
"""A record that may be repeated for free waits at most this long for stable storage."""
KEPT_DAMAGE = 100
"""How many damaged lines are described; the rest is only counted, so that reading takes constant memory."""


class JournalFile:
    """The sink of the journal: one write for each event, `fdatasync` at boundary events.

    Opening the file of an interrupted run ends its torn last line first, so that the line stays what it is:
    `torn_bytes` says how long it was (0: there was none), and the caller puts that on record.
    """

    def __init__(self, path: Path) -> None:
        """Raises `RecordError`."""
        self._file = AppendFile(path)
        self._waiting_since: float | None = None
        self._turns = Turns()
        self.torn_bytes = self._file.unfinished_tail()
        if self.torn_bytes:
            self._file.append(b"\n")
            self._file.sync()

    def take(self, stamped: Stamped) -> None:
        """Raises `RecordError` when the write or a due sync failed, and ever after."""
        if not stamped.seq:
            return
        line = encode(self._turns.shortened(stamped))
        self._file.append(line)
        self._turns.passed(stamped, line)
        since = self._waiting_since
        if since is None:
            since = self._waiting_since = stamped.time
        # A wall clock that was set back must not keep records waiting.
        if stamped.event.boundary or not since <= stamped.time < since + SYNC_AFTER_S:
            self.sync()

    def sync(self) -> None:
        """Bring what waits to stable storage; `take` does it when it is due, a timer may as well."""
        if self._waiting_since is not None:
            self._waiting_since = None
            self._file.sync()

    def close(self) -> None:
        """Safe to call twice. Raises `RecordError` if the last records could not be made durable."""
        try:
            if not self._file.failed:
                self.sync()
        finally:
            self._file.close()


@dataclass(frozen=True, slots=True)
class DamagedLine:
    """`line` counts from 1."""

    line: int
    kind: DamageKind
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(slots=True)
class JournalDamage:
    """What a reader passed over. Filled while the journal is read, whole when the reading has ended."""

    count: int = 0
    """Damaged lines, the torn ones included."""
    lines: list[DamagedLine] = field(default_factory=list)
    """The first `KEPT_DAMAGE` of them."""
    unknown_types: Counter[str] = field(default_factory=Counter)
    """Records of event types that only a newer version knows, skipped."""
    unknown_keys: Counter[str] = field(default_factory=Counter)
    """`type.key` of fields that only a newer version knows, left out."""

    def add(self, line: int, kind: DamageKind, message: str) -> None:
        self.count += 1
        if len(self.lines) < KEPT_DAMAGE:
            self.lines.append(DamagedLine(line, kind, message))


def read_journal(path: Path, damage: JournalDamage | None = None) -> Iterator[Stamped]:
    """The events of a journal, in order and one at a time; damaged lines are skipped and told to `damage`.

    A last line that is whole but for its newline is a record: no proper prefix of a JSON object is one.
    Raises `RecordError` when the file cannot be read.
    """
    damage = JournalDamage() if damage is None else damage
    turns = Turns()
    try:
        with _open_file(path) as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    stamped, unknown = decode(line)
                    stamped = turns.whole(stamped)
                except Damaged as seen:
                    if seen.kind == "broken" and not line.endswith(b"\n"):
                        damage.add(number, "torn", f"the last line is torn after {len(line)} bytes")
                    else:
                        damage.add(number, seen.kind, str(seen))
                except UnknownType as newer:
                    damage.unknown_types[newer.args[0]] += 1
                else:
                    for key in unknown:
                        damage.unknown_keys[f"{stamped.event.type}.{key}"] += 1
                    turns.passed(stamped, line)
                    yield stamped
    except OSError as error:
        raise record_error("read", path, error) from error


def _open_file(path: Path) -> BinaryIO:
    """A file to read; what is no file (a FIFO would wait for ever) is refused with an `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return os.fdopen(descriptor, "rb")
