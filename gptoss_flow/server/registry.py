"""The state folder of managed servers: what identifies one, what lies there, its lock.

A folder per fingerprint, mode 0700, below `<state root>/servers`: `record.json` (written and removed by the
guardian), `key` (the API key), `lock`, `guardian.sock`, and the logs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json
from gptoss_flow.ports import Clock
from gptoss_flow.server.record import ServerRecord, read_key, read_record

LOCK_POLL_S = 0.02
LOCK_TIMEOUT_S = 60.0
TAIL_BYTES = 16384


@dataclass(frozen=True, slots=True)
class Place:
    """The state folder of one fingerprint."""

    folder: Path
    fingerprint: str

    def make(self) -> None:
        """Create it, for this user alone. Raises `Unavailable`."""
        make_private(self.folder.parent.parent, self.folder.parent, self.folder)

    def record(self) -> ServerRecord | None:
        return read_record(self.folder)

    def discard(self) -> None:
        """Forget the recorded server. Nothing is signalled: whatever has its pid now may be anybody's."""
        if (record := self.record()) and Path(record.socket).parent == private_folder(record.nonce):
            shutil.rmtree(private_folder(record.nonce), ignore_errors=True)
        for name in ("record.json", "guardian.sock", "key"):
            (self.folder / name).unlink(missing_ok=True)

    def write_key(self, key: str) -> None:
        path = self.folder / "key"
        path.unlink(missing_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(key)

    def key(self) -> str | None:
        """The key of the recorded server, None where it has none."""
        return read_key(self.folder)

    @contextlib.asynccontextmanager
    async def lock(self, clock: Clock) -> AsyncIterator[None]:
        """Only one of all processes is in here. Raises `Unavailable` if that takes more than a minute."""
        lock = FileLock(self.folder / "lock", mode=0o600)
        limit = clock.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                if clock.monotonic() > limit:
                    raise Unavailable(
                        f"another process has held {lock.lock_file} for {LOCK_TIMEOUT_S:.0f} s; end it"
                    ) from None
            except OSError as error:
                raise Unavailable(f"the state folder {self.folder} cannot be locked: {error.strerror}") from None
            await clock.sleep(LOCK_POLL_S)
        try:
            yield
        finally:
            lock.release()


def make_private(*folders: Path) -> None:
    """Create these folders, the outermost first, for this user alone. Raises `Unavailable`."""
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
    except OSError as error:
        raise Unavailable(
            f"the state folder {folders[-1]} cannot be used ({error.strerror}); "
            "set XDG_STATE_HOME to a folder that you may write"
        ) from None


def private_folder(nonce: str) -> Path:
    """Where a guardian's socket lies whose state folder has too long a path: unguessable, made for it alone."""
    return Path("/tmp") / f"gptoss-flow-{nonce[:16]}"


def place_of(state_root: Path, fingerprint: str) -> Place:
    return Place(state_root / "servers" / fingerprint[:16], fingerprint)


def fingerprint(
    engine: str, model: Path, load_time: Mapping[str, Json], environment: Mapping[str, str], key: str
) -> str:
    """What two users must agree in to share a process, as hexadecimal digits.

    `engine` identifies the very build. Raises `Unavailable` if the model cannot be read.
    """
    facts = {
        "engine": engine,
        "model": file_identity(model),
        "load_time": load_time,
        "environment": dict(environment),
        "key": hashlib.sha256(key.encode()).hexdigest() if key else "",
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def file_identity(path: Path) -> list[Json]:
    """Path, size in bytes and modification time in nanoseconds. Raises `Unavailable`."""
    try:
        stat = path.stat()
    except OSError as error:
        raise Unavailable(f"the file {path} cannot be read: {error.strerror}") from None
    return [str(path.resolve()), stat.st_size, stat.st_mtime_ns]


def log_tail(path: Path, mark: str = "", max_bytes: int = TAIL_BYTES) -> str:
    """The end of a log, from the last start (`mark`) on; empty where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - max_bytes))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return text.rpartition(mark)[2].lstrip("\n") if mark else text
