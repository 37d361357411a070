"""Where a run's record lies: its private folder, its id, and the lock that keeps a second writer out."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gptoss_flow.errors import Problem, RecordError
from gptoss_flow.record.append import open_private, record_error, sync_folder

STATE_FOLDER = ".gptoss-flow"
EVENTS = "events.jsonl"
RLOG = "run.rlog"
LOCK_TRIES = 10
LOCK_AGAIN_S = 0.01

_RUN_ID = re.compile(r"\d{8}_\d{6}_\d{6}_[0-9a-f]{4}")


def new_run_id(now: datetime) -> str:
    """An id like `20261105_194210_482113_3f9a` (UTC): sorts by time, is one word, and does not collide.

    Without hyphens because rlog/1 ends an id at the first one.
    """
    return f"{now.astimezone(UTC):%Y%m%d_%H%M%S_%f}_{secrets.token_hex(2)}"


def is_run_id(name: str) -> bool:
    return _RUN_ID.fullmatch(name) is not None


class RunFolder:
    """The folder of one run, `.gptoss-flow/runs/<run id>/`, locked for its writer until `close`."""

    def __init__(self, path: Path) -> None:
        """Takes the lock of an existing folder; raises `RecordError` if another process writes this run."""
        self.path = path
        self.run_id = path.name
        self.events_path = path / EVENTS
        self.rlog_path = path / RLOG
        self._lock = _lock(path / "lock", self.run_id)

    @classmethod
    def create(cls, base: Path, run_id: str) -> RunFolder:
        """A new run's folder, mode 0700, in `base/.gptoss-flow`. Raises `RecordError`."""
        state = base / STATE_FOLDER
        path = state / "runs" / run_id
        try:
            base.mkdir(parents=True, exist_ok=True)
            for folder in (state, state / "runs"):
                if make_private(folder):
                    sync_folder(folder.parent)
            _ignore_in_git(state)
            if not make_private(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            sync_folder(path.parent)
        except OSError as error:
            raise record_error("create the run's folder", path, error) from error
        return cls(path)

    def close(self) -> None:
        """Give the lock back. Safe to call twice."""
        if self._lock >= 0:
            descriptor, self._lock = self._lock, -1
            os.close(descriptor)


def list_runs(base: Path) -> list[Path]:
    """The folders of all runs under `base/.gptoss-flow`, oldest first. Raises `RecordError`."""
    runs = base / STATE_FOLDER / "runs"
    try:
        found = [Path(entry.path) for entry in os.scandir(runs) if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise record_error("read", runs, error) from error
    return sorted(path for path in found if is_run_id(path.name))


def find_run(base: Path, wanted: str) -> Path:
    """The folder of the run whose id is `wanted`, or begins with it. Raises `RecordError`."""
    runs = list_runs(base)
    found = [path for path in runs if path.name == wanted] or [
        path for path in runs if path.name.startswith(wanted)
    ]
    if len(found) == 1:
        return found[0]
    message = f'no run "{wanted}" under {base / STATE_FOLDER}'
    if found:
        message = f'"{wanted}" could be any of {len(found)} runs under {base / STATE_FOLDER}'
    hint = f"the newest is {runs[-1].name}" if runs else "no run is on record there"
    raise RecordError(Problem(None, message, hint))


def kept_log_path(record_dir: Path, flow: str, now: datetime) -> Path:
    """Where `--record` keeps a readable log: `YYYYMMDD/HHMMSS-<flow>.rlog`, its folders made.

    A second run of the same flow in the same second gets `-2`. Raises `RecordError`.
    """
    folder = record_dir / f"{now:%Y%m%d}"
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        stems = [f"{now:%H%M%S}-{flow}", *(f"{now:%H%M%S}-{flow}-{n}" for n in range(2, 1000))]
        for stem in stems:
            path = folder / f"{stem}.rlog"
            try:
                path.touch(mode=0o600, exist_ok=False)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise record_error("create a log in", folder, error) from error
    raise RecordError(f"cannot create a log in {folder}: a thousand of this second are there already")


def make_private(folder: Path) -> bool:
    """Make a folder of mode 0700, whatever the umask; false if there is one."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder") from None
        return False
    folder.chmod(0o700)
    return True


def _ignore_in_git(state: Path) -> None:
    ignore = state / ".gitignore"
    if not ignore.exists() or not ignore.stat().st_size:  # whoever made it may have been killed before he wrote it
        with os.fdopen(open_private(ignore), "ab") as file:
            file.write(b"*\n")


def _lock(path: Path, run_id: str) -> int:
    try:
        descriptor = open_private(path)
    except OSError as error:
        raise record_error("lock", path, error) from error
    try:
        _lock_alone(descriptor)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise RecordError(
            Problem(
                None, f"run {run_id} is being written by process {owner or 'unknown'}", "wait until it has ended"
            )
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise record_error("lock", path, error) from error
    with suppress(OSError):  # the number is for people: without it the lock holds as well
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _lock_alone(descriptor: int) -> None:
    """Raises `BlockingIOError` where another has it for longer than it takes to look whether a run goes on."""
    for _ in range(LOCK_TRIES):
        with suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOCK_AGAIN_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
