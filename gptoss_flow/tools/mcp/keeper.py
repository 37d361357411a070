"""A process between us and a tool server, which lets none of the server's processes outlive us, however we end.

`python -I -S keeper.py LIFELINE PROGRAM ARGUMENT…`: LIFELINE is the reading end of a pipe that only we write to;
where it ends, the server is ended, and all that it has started. Standard input and output are the server's alone.
It loads next to nothing, to start in milliseconds.
"""

# ruff: noqa: PTH123
from __future__ import annotations

import contextlib
import os
import select
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 1.0
"""Between the request to end and the end."""
CANNOT_RUN = 127


def main(lifeline: int, argv: list[str]) -> int:
    if sys.platform == "linux":
        _prctl(PR_SET_CHILD_SUBREAPER, 1)  # what the server leaves behind becomes ours to end
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    keeper = os.getpid()
    server = os.fork()
    if server == 0:
        try:
            _become(argv, keeper)
        except BaseException as error:
            os.write(2, f"cannot execute {argv[0]}: {error}\n".encode())
        os._exit(CANNOT_RUN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):  # the server sees the end of its input when we close it, and we that of its output
        os.dup2(nothing, number)
    code: int | None = None
    while code is None:
        ready, _, _ = select.select([lifeline, woken], [], [])
        if lifeline in ready:
            code = _end(server, woken)
            break
        os.read(woken, 4096)
        code = _reaped(server)
    _kill_all(server)
    return code if code >= 0 else 128 - code


def _become(argv: list[str], keeper: int) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(CANNOT_RUN)
    os.closerange(3, 64)
    os.execvp(argv[0], argv)


def _end(server: int, woken: int) -> int:
    """Ask it to end, then end it."""
    with contextlib.suppress(OSError):
        os.killpg(server, signal.SIGTERM)
    left = GRACE_S
    while left > 0:
        if (code := _reaped(server)) is not None:
            return code
        select.select([woken], [], [], 0.05)
        left -= 0.05
    with contextlib.suppress(OSError):
        os.killpg(server, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(server, 0)
    return 128 + signal.SIGKILL


def _reaped(server: int) -> int | None:
    """How the server ended; None while it runs. Others that ended are reaped too."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid == server:
                found = os.waitstatus_to_exitcode(status)
    return found


def _kill_all(server: int) -> None:
    """All that is left: its group, and whatever has become our child."""
    with contextlib.suppress(OSError):
        os.killpg(server, signal.SIGKILL)
    with contextlib.suppress(OSError):
        while children := _children():
            for pid in children:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return [int(word) for word in file.read().split()]


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    os._exit(main(int(sys.argv[1]), sys.argv[2:]))
