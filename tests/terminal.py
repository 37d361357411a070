"""The program on a terminal: a real pseudo-terminal, in whose foreground it runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable

from gptoss_flow.testing.project import Project

CTRL_C, CTRL_D = b"\x03", b"\x04"


class Terminal:
    """A command with a terminal as its input, output and error; `seen` is all that it has written.

    >>> with Terminal(project, "run", "flow.yaml") as terminal:
    ...     terminal.until(b"loading")
    ...     terminal.press(CTRL_C)
    ...     assert terminal.end() == 130
    """

    def __init__(self, project: Project, *args: str, term: str = "xterm-256color") -> None:
        self.seen = b""
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            project.command(*args),
            cwd=project.folder,
            env={**project.environ, "TERM": term},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # from now on Ctrl-C is for this process
        )
        os.close(theirs)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()
        self.process.kill()
        self.process.wait()

    def until(self, text: bytes, timeout_s: float = 60) -> None:
        """Read until this was written."""
        self._read(lambda: text in self.seen, timeout_s)
        assert text in self.seen, f"{text!r} never came after {self.seen[-3000:]!r}"

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def watch(self, seconds: float) -> None:
        """Read for so long, or to the end of the command."""
        self._read(lambda: False, seconds)

    def end(self, timeout_s: float = 60) -> int:
        """Read to the end of the command; its exit code as a shell tells it: 128 + n for signal n."""
        self.watch(timeout_s)
        code = self.process.wait(timeout_s)
        return code if code >= 0 else 128 - code

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed: the command gets SIGHUP. Safe to call twice."""
        if self._ours >= 0:
            ours, self._ours = self._ours, -1
            os.close(ours)

    def _read(self, enough: Callable[[], bool], timeout_s: float) -> None:
        """Read until it is enough, or the last process has closed the terminal, or the time is over."""
        until = time.monotonic() + timeout_s
        while (
            self._ours >= 0
            and not enough()
            and select.select([self._ours], [], [], max(0.0, until - time.monotonic()))[0]
        ):
            piece = b""
            with contextlib.suppress(OSError):  # Linux tells the end by EIO
                piece = os.read(self._ours, 65536)
            if not piece:
                return
            self.seen += piece
