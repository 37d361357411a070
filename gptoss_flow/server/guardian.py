"""The keeper of one server process: owns its process group, counts its users, stops it after the last one.

Run by `python -I -S` (see `process.GUARDIAN`) with a connected socket as standard input, on which its starter
sends what to run. Standard library only, and nothing imported that is not needed, to be up in milliseconds.

A user is an open connection to the guardian's socket that has said `hold`; the starter's own is the first. The
kernel closes the connections of a process that dies, however it dies: that is how a lost user is noticed. One JSON
object a line, both ways.

    in   {"op": "hold", "idle_timeout_s": S}   count me among the users
         {"op": "who"}                         only tell me what you keep
         {"op": "ready", "facts": {…}}         it answers and is proved to be the right one
         {"op": "release"}                     I am no user any more
         {"op": "stop"}                        stop it, whoever uses it
    out  {"say": "server", "nonce": …, "pid": …, "state": …, "lead": …, "facts": …, "users": …}
         {"say": "lead"}                       whoever watched over the start has left: it is yours now
         {"say": "ready", "facts": {…}}
         {"say": "kept"}                       the answer to `release` where the server stays
         {"say": "gone", "exit": N, "asked": …}   negative: the signal that ended it; then the connection closes
         {"say": "failed", "why": …}           it could not even be started
"""

# pathlib would double the time to start.
# ruff: noqa: PTH105, PTH106, PTH108, PTH116, PTH118, PTH120, PTH123
from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

KILL_AGAIN_S = 1.0
GROUP_GONE_S = 2.0
LINE_MAX = 1 << 20

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


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


class Connection:
    """One connection: its unread bytes and whether it is a user's."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.unread = b""
        self.holds = False

    def send(self, message: Json) -> None:
        # A peer that does not read its few lines has lost its connection, not stopped the guardian.
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class Guardian:
    """One server: `loading`, `ready`, `stopping`, gone. The only writer of its record."""

    def __init__(self, spec: Json, starter: socket.socket) -> None:
        self.spec = spec
        self.state = "loading"
        self.facts: Json = {}
        self.idle_timeout_s = float(spec["idle_timeout_s"])
        self.idle_since: float | None = None
        self.next_signal_at = 0.0
        self.signals_sent = 0
        self.term_received = False
        first = Connection(starter)
        first.holds = True
        self.connections = {starter.fileno(): first}
        self.poll = select.poll()
        self.poll.register(starter.fileno(), select.POLLIN)

    # --- start ---

    def start(self) -> None:
        os.umask(0o077)
        self.wake_r, wake_w = os.pipe()
        os.set_blocking(self.wake_r, False)
        os.set_blocking(wake_w, False)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)

        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.spec["socket"])
        self.socket_inode = os.stat(self.spec["socket"]).st_ino
        self.listener.listen(64)
        self.listener.setblocking(False)

        self.log = CappedLog(self.spec["log"], int(self.spec["log_max_bytes"]))
        self.log.write(self.spec["log_mark"].encode() + b"\n")
        self.pid, self.output, self.stdin = self._spawn()
        self.started_at = time.time()
        for fd in (self.listener.fileno(), self.output, self.wake_r):
            self.poll.register(fd, select.POLLIN)
        self._write_record()

    def _spawn(self) -> tuple[int, int, int]:
        in_r, in_w = os.pipe()
        out_r, out_w = os.pipe()
        exec_r, exec_w = os.pipe()
        guardian = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_server(guardian, in_r, out_w)
            except BaseException as error:
                os.write(2, f"cannot execute {self.spec['argv'][0]}: {error}\n".encode())
            os._exit(127)
        os.close(in_r)
        os.close(out_w)
        os.close(exec_w)
        os.read(exec_r, 1)  # ends with the exec, or with a failed one: only then has the child its own environment
        os.close(exec_r)
        os.set_blocking(out_r, False)
        os.write(in_w, self.spec["stdin"].encode())
        # Left open for as long as the guardian lives: a server that reads to its end knows that the guardian died.
        return pid, out_r, in_w

    def _become_server(self, guardian: int, stdin: int, output: int) -> None:
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
        os.chdir(self.spec["folder"])
        os.execve(self.spec["argv"][0], self.spec["argv"], self.spec["env"])

    def _write_record(self) -> None:
        record = dict(
            self.spec["record"],
            guardian_pid=os.getpid(),
            pid=self.pid,
            start_ticks=start_ticks(self.pid),
            started_at=self.started_at,
            state=self.state,
            idle_timeout_s=self.idle_timeout_s,
            facts=self.facts,
        )
        path = os.path.join(self.spec["folder"], "record.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(record, file)
        os.replace(path + ".new", path)

    # --- the loop ---

    def run(self) -> None:
        self._tell_server(next(iter(self.connections.values())))
        adopt_orphans()
        while True:
            for fd, _ in self.poll.poll(self._wait_ms()):
                self._on_readable(fd)
            if self._exited():
                break
            self._act_on_time()
        self._end()

    def _on_readable(self, fd: int) -> None:
        if fd == self.wake_r:
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 4096)
        elif fd == self.output:
            self._copy_output()
        elif fd == self.listener.fileno():
            with contextlib.suppress(OSError):
                sock, _ = self.listener.accept()
                self.connections[sock.fileno()] = Connection(sock)
                self.poll.register(sock.fileno(), select.POLLIN)
        elif fd in self.connections:
            self._on_connection(fd, self.connections[fd])

    def _copy_output(self) -> bool:
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return False
        if data:
            self.log.write(data)
        elif self.output is not None:
            with contextlib.suppress(KeyError):
                self.poll.unregister(self.output)
        return bool(data)

    def _on_connection(self, fd: int, connection: Connection) -> None:
        try:
            data = connection.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.unread += data
        *lines, connection.unread = connection.unread.split(b"\n")
        try:
            for line in lines:
                self._on_message(connection, json.loads(line))
        except (ValueError, KeyError, TypeError):
            data = b""  # not one of ours: nothing that it says may end the guardian
        if not data or len(connection.unread) > LINE_MAX:
            self._drop(fd, connection)

    def _drop(self, fd: int, connection: Connection) -> None:
        self.poll.unregister(fd)
        del self.connections[fd]
        connection.sock.close()
        if connection.holds:
            self._after_user_left()

    def _on_message(self, connection: Connection, message: Json) -> None:
        match message["op"]:
            case "hold":
                connection.holds = self.state != "stopping"
                wanted = float(message["idle_timeout_s"])
                longest = -1.0 if -1.0 in (wanted, self.idle_timeout_s) else max(wanted, self.idle_timeout_s)
                if longest != self.idle_timeout_s:
                    self.idle_timeout_s = longest
                    self._write_record()
                self.idle_since = None
                self._tell_server(connection)
            case "who":
                self._tell_server(connection)
            case "ready" if self.state == "loading":
                self.state, self.facts = "ready", message["facts"]
                self._write_record()
                for each in self.connections.values():
                    each.send({"say": "ready", "facts": self.facts})
            case "release":
                connection.holds = False
                self._after_user_left()
                if self.state != "stopping":
                    connection.send({"say": "kept"})
            case "stop":
                self._stop()

    def _users(self) -> list[Connection]:
        return [each for each in self.connections.values() if each.holds]

    def _after_user_left(self) -> None:
        users = self._users()
        if not users:
            self.idle_since = time.monotonic()
            self._act_on_time()
        elif self.state == "loading":
            users[0].send({"say": "lead"})  # said again to one that leads already: it does not mind

    def _tell_server(self, connection: Connection) -> None:
        users = self._users()
        connection.send(
            {
                "say": "server",
                "nonce": self.spec["record"]["nonce"],
                "guardian_pid": os.getpid(),
                "pid": self.pid,
                "state": self.state,
                "lead": self.state == "loading" and users[:1] == [connection],
                "facts": self.facts,
                "users": len(users),
            }
        )

    # --- stop ---

    def _on_term(self, *_: object) -> None:
        self.term_received = True  # acted upon by the loop, which the wakeup pipe ends the wait of

    def _stop(self) -> None:
        if self.state != "stopping":
            self.state = "stopping"
            self.next_signal_at = time.monotonic()

    def _idle_deadline(self) -> float | None:
        # A start that nobody waits for any more is never kept: nobody has proved what it is.
        allowed = self.idle_timeout_s if self.state == "ready" else 0.0
        return None if self.idle_since is None or allowed == -1 else self.idle_since + allowed

    def _wait_ms(self) -> int | None:
        deadline = self.next_signal_at if self.state == "stopping" else self._idle_deadline()
        return None if deadline is None else max(0, int((deadline - time.monotonic()) * 1000) + 1)

    def _act_on_time(self) -> None:
        idle = self._idle_deadline()
        if self.term_received or (idle is not None and time.monotonic() >= idle):
            self._stop()
        if self.state != "stopping" or time.monotonic() < self.next_signal_at:
            return
        self.signals_sent += 1
        if self.signals_sent <= 2:
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)  # a suspended process takes no other signal
            wait_s = self.spec["term_again_s" if self.signals_sent == 1 else "kill_s"]
        else:
            kill_group(self.pid)
            wait_s = KILL_AGAIN_S
        self.next_signal_at = time.monotonic() + wait_s

    def _exited(self) -> bool:
        # Not reaped yet: its pid, and so the group's, stays reserved while the group is killed.
        if hasattr(os, "waitid"):
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return False
            kill_group(self.pid)
        reaped, status = os.waitpid(self.pid, os.WNOHANG)
        if reaped == 0:
            return False
        self.exit = os.waitstatus_to_exitcode(status)
        return True

    def _end(self) -> None:
        limit = time.monotonic() + GROUP_GONE_S
        while group_lives(self.pid) and time.monotonic() < limit:
            reap_orphans()
            time.sleep(0.002)
        while self._copy_output():
            pass
        self._remove_traces()
        for each in self.connections.values():
            each.send({"say": "gone", "exit": self.exit, "asked": self.state == "stopping"})

    def _remove_traces(self) -> None:
        # Only what is still ours: another guardian may have taken the place after this one was given up.
        folder = self.spec["folder"]
        record = os.path.join(folder, "record.json")
        with contextlib.suppress(OSError, ValueError, KeyError):
            with open(record, encoding="utf-8") as file:
                ours = json.load(file)["nonce"] == self.spec["record"]["nonce"]
            if ours:
                os.unlink(record)
                os.unlink(os.path.join(folder, "key"))
        with contextlib.suppress(OSError):
            if os.stat(self.spec["socket"]).st_ino == self.socket_inode:
                os.unlink(self.spec["socket"])
                if os.path.dirname(self.spec["socket"]) != folder:
                    os.rmdir(os.path.dirname(self.spec["socket"]))


def start_ticks(pid: int) -> int | None:
    """When the process started, in the kernel's ticks since boot; None where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except OSError:
        return None


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


def read_spec(starter: socket.socket) -> Json | None:
    """The first line that the starter sends; None if it died before."""
    data = b""
    while not data.endswith(b"\n"):
        piece = starter.recv(65536)
        if not piece:
            return None
        data += piece
    spec: Json = json.loads(data)
    return spec


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    starter = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    spec = read_spec(starter)
    if spec is None:
        return
    try:
        guardian = Guardian(spec, starter)
        guardian.start()
    except OSError as error:
        # What was spawned dies with this process: PR_SET_PDEATHSIG, or the end of its standard input.
        Connection(starter).send({"say": "failed", "why": str(error)})
        return
    guardian.run()
