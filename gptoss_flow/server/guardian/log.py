"""The server's log, which the guardian writes: a file with a largest size."""

# pathlib would double the time to start.
from __future__ import annotations

import contextlib
import os


class CappedLog:
    """A file that never grows above `max_bytes`: when it is full its older half is dropped."""

    def __init__(self, path: str, max_bytes: int) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(path, flags, 0o600)
        self.max_bytes = max(max_bytes, 4096)
        self.size = os.fstat(self.fd).st_size

    def write(self, data: bytes) -> None:
        # A full disk must not stop the server: what cannot be written is lost.
        with contextlib.suppress(OSError):
            if self.size + len(data) > self.max_bytes:
                self._drop_older_half()
                data = data[-self.max_bytes // 2 :]
            self.size += os.write(self.fd, data)

    def _drop_older_half(self) -> None:
        keep = self.max_bytes // 2
        tail = os.pread(self.fd, keep, max(0, self.size - keep))
        tail = tail[tail.find(b"\n") + 1 :]
        os.ftruncate(self.fd, 0)
        self.size = os.write(self.fd, b"[older lines were dropped]\n" + tail)
