"""The server's process as the system shows it: started in a group of its own, measured, killed with its group."""

# ruff: noqa: PTH123
from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def spawn(spec: Json) -> tuple[int, int, int]:
    """Start the server: its pid, where its output is read, and its standard input.

    The last must be left open for as long as the guardian lives: a server that reads to its end knows that the
    guardian died.
    """
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    exec_r, exec_w = os.pipe()
    guardian = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become_server(spec, guardian, in_r, out_w)
        except BaseException as error:
            os.write(2, f"cannot execute {spec['argv'][0]}: {error}\n".encode())
        os._exit(127)
    os.close(in_r)
    os.close(out_w)
    os.close(exec_w)
    os.read(exec_r, 1)  # ends with the exec, or with a failed one: only then has the child its own environment
    os.close(exec_r)
    os.set_blocking(out_r, False)
    os.write(in_w, spec["stdin"].encode())
    return pid, out_r, in_w


def _become_server(spec: Json, guardian: int, stdin: int, output: int) -> None:
    os.dup2(stdin, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # a core would be as large as the model
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guardian:
            os._exit(127)
    os.chdir(spec["folder"])
    os.execve(spec["argv"][0], spec["argv"], spec["env"])


def exit_code(pid: int) -> int | None:
    """How the server ended, its group being killed too; None while it runs. Negative: the signal."""
    # Not reaped yet: its pid, and so the group's, stays reserved while the group is killed.
    if hasattr(os, "waitid"):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        kill_group(pid)
    reaped, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if reaped else None


def start_ticks(pid: int) -> int | None:
    """When the process started, in the kernel's ticks since boot; None where there is no /proc."""
    stat = _stat(pid)
    return int(stat[19]) if stat else None


def worked_ticks(pid: int) -> int | None:
    """The processor time that it has used, in ticks (10 ms); None where there is no /proc."""
    stat = _stat(pid)
    return int(stat[11]) + int(stat[12]) if stat else None


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()
    except OSError:
        return []


def adopt_orphans() -> None:
    """What the server leaves behind becomes ours to reap, so that the end of its group can be seen at once."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def kill_group(pid: int) -> None:
    """SIGKILL for all that is left of the server's process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def group_lives(pid: int) -> bool:
    """Whether the group still has a process (one that is dead but not reaped by its parent counts on Linux)."""
    try:
        os.killpg(pid, 0)
    except OSError as error:
        return error.errno not in (errno.ESRCH, errno.EPERM)
    return True
