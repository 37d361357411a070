"""The index of runs: what a list shows of each, kept in SQLite so that a journal is read once.

A cache and no more: whatever is wrong with it (deleted, locked, read-only, corrupt, of another version), the
entries are made from the run folders, which alone tell the truth.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from gptoss_flow.errors import RecordError
from gptoss_flow.events import RunStatus
from gptoss_flow.record.append import open_private
from gptoss_flow.record.folder import EVENTS, STATE_FOLDER, list_runs
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.record.state import RunState, Tokens, fold

INDEX = "index.sqlite"
VERSION = 2
"""Of the table; a file of another version is made anew."""
BUSY_S = 0.2
"""How long to wait for another process that writes the index."""

ListedStatus = Literal[RunStatus, "running", "unfinished", "unreadable"]
"""`unfinished`: its record ends early, and nobody writes it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEntry:
    """A run in one line."""

    id: str
    flow: str = ""
    flow_path: str = ""
    started_at: str
    """ISO 8601, UTC."""
    status: ListedStatus
    exit_code: int | None = None
    duration_s: float | None = None
    """None where the record does not tell the end."""
    steps_done: int = 0
    steps: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    damaged: int = 0
    """Lines of its journal that could not be read."""


_ENTRY = TypeAdapter(RunEntry)


def list_entries(base: Path) -> list[RunEntry]:
    """The runs under `base/.gptoss-flow`, newest first. Raises `RecordError` where the folder cannot be read."""
    folders = list_runs(base)
    if not folders:
        return []
    known: Mapping[str, _Row] = {}
    with _index(base) as index:
        if index is not None:
            known = _known(index)
        rows = [_row(folder, known.get(folder.name)) for folder in folders]
        if index is not None:
            _keep(
                index,
                [row for row in rows if row is not known.get(row.entry.id)],
                known.keys() - {row.entry.id for row in rows},
            )
    return [_live(row.entry, folder) for row, folder in zip(reversed(rows), reversed(folders), strict=True)]


def is_running(folder: Path) -> bool:
    """Whether a process writes this run now."""
    try:
        descriptor = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def started_at(run_id: str) -> datetime:
    """When a run began, as its id says; the year 1970 where its digits are no day."""
    try:
        return datetime.strptime(run_id[:22], "%Y%m%d_%H%M%S_%f").replace(tzinfo=UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


_COLUMNS = "id TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, entry TEXT"
_NOT_ITS_FAULT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
}
"""Errors that a new file would not mend."""


@dataclass(frozen=True, slots=True)
class _Row:
    """An entry, and the journal's size and time of change when it was made: with others it is made again."""

    entry: RunEntry
    size: int
    mtime_ns: int


def _row(folder: Path, known: _Row | None) -> _Row:
    try:
        stat = (folder / EVENTS).lstat()
        size, mtime_ns = stat.st_size, stat.st_mtime_ns
    except OSError:
        size = mtime_ns = -1
    if known is not None and (known.size, known.mtime_ns) == (size, mtime_ns):
        return known
    return _Row(_read(folder), size, mtime_ns)


def load_run(folder: Path) -> tuple[RunState, JournalDamage]:
    """The fold of a run's journal, and what of it could not be read. Raises `RecordError` where nothing could."""
    path, damage = folder / EVENTS, JournalDamage()
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RecordError(f"cannot read {path}: it is not a file")
    try:
        state = fold(read_journal(path, damage))
    except (TypeError, ValueError, AttributeError) as error:
        raise RecordError(f"cannot read {path}: another program wrote it ({error})") from error
    if state.started is None and not state.steps:
        said = f": {damage.lines[0]}" if damage.lines else ", not even its beginning"
        raise RecordError(f"cannot read {path}: it holds no record of a run{said}")
    return state, damage


def _read(folder: Path) -> RunEntry:
    """What the journal of a run adds up to."""
    began = _began(folder.name)
    try:
        state, damage = load_run(folder)
    except RecordError:
        return RunEntry(id=folder.name, started_at=began, status="unreadable")
    started, finished = state.started, state.finished
    return RunEntry(
        id=folder.name,
        flow=started.flow if started else "",
        flow_path=started.flow_path if started else "",
        started_at=began,
        status="unfinished" if finished is None else finished.status,
        exit_code=None if finished is None else finished.exit_code,
        duration_s=state.took_s,
        steps_done=sum(step.outcome is not None for step in state.steps.values()),
        steps=len(state.steps),
        tokens=state.tokens,
        damaged=damage.count,
    )


def _began(run_id: str) -> str:
    return started_at(run_id).isoformat(timespec="seconds")


def _live(entry: RunEntry, folder: Path) -> RunEntry:
    """What only the moment tells: whether a run without an end still goes on."""
    unended = entry.status in ("unfinished", "unreadable")
    return replace(entry, status="running") if unended and is_running(folder) else entry


@contextmanager
def _index(base: Path) -> Iterator[sqlite3.Connection | None]:
    """The index, made anew where it is of no use; None where there can be none."""
    path = base / STATE_FOLDER / INDEX
    try:
        connection = _open(path)
    except (OSError, sqlite3.Error):
        connection = None
    if connection is None:
        yield None
        return
    with closing(connection):
        yield connection


def _open(path: Path) -> sqlite3.Connection:
    os.close(open_private(path))  # of mode 0600, and no symbolic link
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_ITS_FAULT:
            raise
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.close(open_private(path))
    return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA synchronous = OFF")  # what a power loss takes is made again
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0:
            connection.execute("PRAGMA journal_mode = WAL")
            with _transaction(connection):
                connection.execute(f"CREATE TABLE IF NOT EXISTS runs ({_COLUMNS})")
                connection.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            raise sqlite3.DatabaseError(f"version {version}")
        connection.execute("SELECT id, size, mtime_ns, entry FROM runs LIMIT 1").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _known(index: sqlite3.Connection) -> Mapping[str, _Row]:
    rows = {}
    with suppress(sqlite3.Error):
        for run_id, size, mtime_ns, entry in index.execute("SELECT id, size, mtime_ns, entry FROM runs"):
            with suppress(ValidationError):
                row = _Row(_ENTRY.validate_json(entry, strict=True), size, mtime_ns)
                if (row.entry.id, row.entry.started_at) == (run_id, _began(run_id)):
                    rows[run_id] = row
    return rows


def _keep(index: sqlite3.Connection, made: Sequence[_Row], gone: set[str]) -> None:
    if made or gone:
        with suppress(sqlite3.Error), _transaction(index):
            index.executemany("DELETE FROM runs WHERE id = ?", [(run_id,) for run_id in gone])
            index.executemany(
                "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?)",
                [(row.entry.id, row.size, row.mtime_ns, _ENTRY.dump_json(row.entry).decode()) for row in made],
            )
