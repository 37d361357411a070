"""The log of a run that `--record` keeps by date: readable, with its events in a file beside it."""

from __future__ import annotations

from pathlib import Path

from gptoss_flow.events import Stamped
from gptoss_flow.record.append import record_error
from gptoss_flow.record.journal_file import JournalFile, read_journal
from gptoss_flow.record.rlog import Rlog


class KeptLog:
    """The sink of both files. Their I/O errors are `RecordError`, like the journal's."""

    def __init__(self, path: Path, journal: Path | None = None) -> None:
        """`path`: the readable one. `journal`: of a run that goes on, from which what is missing is added first.

        Raises `RecordError`.
        """
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise record_error("create a log in", path.parent, error) from error
        events = path.with_suffix(".jsonl")
        self._readable, self._events = Rlog(path), JournalFile(events)
        if journal is not None:
            kept = max((stamped.seq for stamped in read_journal(events)), default=0)
            for stamped in read_journal(journal):
                if stamped.seq > kept:
                    self.take(stamped)

    def take(self, stamped: Stamped) -> None:
        self._readable.take(stamped)
        self._events.take(stamped)

    def close(self) -> None:
        try:
            self._events.close()
        finally:
            self._readable.close()
