"""The record of a run while it is written: its folder, the journal, and the sinks that the journal feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from gptoss_flow.app.kept_files import KeptFiles
from gptoss_flow.errors import RecordError
from gptoss_flow.ports import Clock, Sink
from gptoss_flow.record.folder import RunFolder
from gptoss_flow.record.journal_file import SYNC_AFTER_S, JournalFile
from gptoss_flow.record.kept_log import KeptLog
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.rlog import Rlog
from gptoss_flow.record.state import RunState
from gptoss_flow.record.stream_mask import EventRedactor
from gptoss_flow.run.journal import Journal


class _Fold:
    """The sink that keeps the run's state."""

    def __init__(self, state: RunState) -> None:
        self.take = state.apply

    def close(self) -> None:
        pass


class Recording:
    """One life of a run on record. Close it."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        clock: Clock,
        redactor: Redactor,
        log: Path | None = None,
        views: Sequence[Sink] = (),
        state: RunState | None = None,
        first_seq: int = 1,
        life: int = 0,
    ) -> None:
        """`log`: a log of the run that is kept by date. `views` see every event too.

        Of a run that is resumed: its `state` as it is on record, the number of the next event, which life this is.
        Raises `RecordError`.
        """
        self.state = state or RunState()
        self.log = log
        self._folder = folder
        kept = [KeptLog(log, folder.events_path if life else None)] if log else []
        self._events = JournalFile(folder.events_path)
        sinks: list[Sink] = [self._events, Rlog(folder.rlog_path), *kept, _Fold(self.state), *views]
        self.files = KeptFiles(folder.path, redactor.text, life)
        self.journal = Journal(sinks, clock, first_seq=first_seq, redact=EventRedactor(redactor))

    @property
    def path(self) -> Path:
        return self._folder.path

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """What waits for stable storage is brought there in time, though nothing more should happen for long."""

        async def sync() -> None:
            with suppress(RecordError):  # which the next record raises again
                while True:
                    await asyncio.sleep(SYNC_AFTER_S)
                    self._events.sync()

        task = asyncio.create_task(sync())
        try:
            yield
        finally:
            task.cancel()

    def close(self) -> None:
        """Raises `RecordError`."""
        try:
            self.journal.close()
        finally:
            self._folder.close()
