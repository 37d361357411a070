"""The file flow.lock beside a flow: where it is, reading it, writing it whole or not at all, its command."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.lang.lock import LOCK, Lock, read_lock

_CHECK = "check its folder, its permissions and the room on the disk"


def lock_path(flow: Path) -> Path:
    return flow.parent / LOCK


def read_lock_file(path: Path) -> Lock | None:
    try:
        return read_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(Problem(None, f"cannot read {path}: {error.strerror}", _CHECK)) from None


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keeps others who say so out of a folder meanwhile, where its file system can; leaves nothing in it."""
    with ExitStack() as stack:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def write_lock_file(path: Path, text: str) -> None:
    """Raises `Invalid`; then the file is what it was."""
    partial: Path | None = None
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".flow.lock-", delete=False) as file:
            partial = Path(file.name)
            file.write(text.encode())
        partial.chmod(mode)
        partial.replace(path)
    except OSError as error:
        if partial:
            partial.unlink(missing_ok=True)
        raise Invalid(Problem(None, f"cannot write {path}: {error.strerror}", _CHECK)) from None


def lock_command(flow: Path) -> str:
    return f"gptoss-flow lock {flow}"


def lock_advice(flow: Path) -> str:
    return f"run: {lock_command(flow)}"
