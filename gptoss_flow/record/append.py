"""The one way to the record's files: open private, append, sync, and turn trouble into `RecordError`."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

from gptoss_flow.errors import Problem, RecordError

_HINTS = {
    errno.ENOSPC: "free some space and resume the run",
    errno.EDQUOT: "your quota is used up; free some space and resume the run",
    errno.EFBIG: "the file reached the limit on file sizes (ulimit -f); raise it and resume the run",
    errno.EIO: "the storage reported an error; nothing after this is on record",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that you may write to",
    errno.EEXIST: "move what is in the way, or choose another folder",
    errno.ENOTDIR: "move the file that is in the way, or choose another folder",
    errno.ELOOP: "it is a symbolic link; choose another folder",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}

TRIES, BETWEEN_TRIES_S = 50, 0.01
"""How long a file system that says EAGAIN is asked again."""

if sys.platform == "darwin":
    _datasync = os.fsync
else:
    _datasync = os.fdatasync


def record_error(doing: str, path: Path, error: OSError) -> RecordError:
    """`cannot write /x/events.jsonl: No space left on device; free some space and resume the run`."""
    cause = error.strerror or type(error).__name__
    return RecordError(Problem(None, f"cannot {doing} {path}: {cause}", _HINTS.get(error.errno or 0, "")))


def open_private(path: Path) -> int:
    """A descriptor to read and append; the file is made if need be and has mode 0600, whatever the umask."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def sync_folder(path: Path) -> None:
    """Bring a folder's entries to stable storage, so that a new file's name survives a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendFile:
    """A file that only grows. After its first failure every call raises that failure again.

    A failed `fdatasync` is never tried again: the kernel may have dropped the pages and would then report success.
    """

    def __init__(self, path: Path) -> None:
        """Opens or creates `path`, mode 0600. Raises `RecordError`."""
        self.path = path
        self._failure: RecordError | None = None
        try:
            self._descriptor = open_private(path)
            sync_folder(path.parent)
        except OSError as error:
            raise record_error("open", path, error) from error

    def append(self, line: bytes) -> None:
        """Hand over all of `line`: one write, more only where the system took a part of it."""
        self._check()
        try:
            written = self._write(line)
            while written < len(line):
                written += self._write(line[written:])
        except OSError as error:
            raise self._fail("write", error) from error

    def _write(self, data: bytes) -> int:
        for _ in range(TRIES):
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                time.sleep(BETWEEN_TRIES_S)
        return os.write(self._descriptor, data)

    def sync(self) -> None:
        """Everything appended so far is on stable storage when this returns."""
        self._check()
        try:
            _datasync(self._descriptor)
            links = os.fstat(self._descriptor).st_nlink
        except OSError as error:
            raise self._fail("sync", error) from error
        if not links:
            self._failure = RecordError(f"cannot write {self.path}: it was deleted while the run was writing it")
            raise self._failure

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def unfinished_tail(self) -> int:
        """How many bytes follow the file's last newline."""
        size = end = self.size()
        while end:
            start = max(0, end - 65536)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                return size - (start + newline + 1)
            end = start
        return size

    def close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._failure = self._failure or RecordError(f"cannot write {self.path}: it is closed")
            os.close(descriptor)

    @property
    def failed(self) -> bool:
        """True also once it is closed: nothing more can be written."""
        return self._failure is not None

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _fail(self, doing: str, error: OSError) -> RecordError:
        self._failure = record_error(doing, self.path, error)
        return self._failure
