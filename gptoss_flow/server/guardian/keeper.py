"""The guardian itself: one loop, one clock, one server: `loading`, `ready`, `stopping`, gone."""

# pathlib would double the time to start.
# ruff: noqa: PTH105, PTH106, PTH108, PTH116, PTH118, PTH120, PTH123
from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time

from gptoss_flow.server.guardian.child import (
    adopt_orphans,
    exit_code,
    group_lives,
    kill_group,
    reap_orphans,
    spawn,
    start_ticks,
)
from gptoss_flow.server.guardian.keepalive import Keepalive
from gptoss_flow.server.guardian.log import CappedLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

KILL_AGAIN_S = 1.0
GROUP_GONE_S = 2.0
LONGEST_WAIT_S = 86_400
LINE_MAX = 1 << 20


class Connection:
    """One connection: its unread bytes, whether it is a user's, and whether nothing is to be touched for it."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.unread = b""
        self.holds = False
        self.pauses = False

    def send(self, message: Json) -> None:
        # A peer that does not read its few lines has lost its connection, not stopped the guardian.
        try:
            self.sock.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)


class Guardian:
    """The keeper of one server, and the only writer of its record."""

    def __init__(self, spec: Json, starter: socket.socket) -> None:
        self.spec = spec
        self.state = "loading"
        self.facts: Json = {}
        self.idle_timeout_s = float(spec["idle_timeout_s"])
        self.idle_since: float | None = None
        self.next_signal_at = 0.0
        self.signals_sent = 0
        self.term_received = False
        self.killed_for = ""
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
        self.pid, self.output, self.stdin = spawn(self.spec)
        self.started_at = time.time()
        for fd in (self.listener.fileno(), self.output, self.wake_r):
            self.poll.register(fd, select.POLLIN)
        self._write_record()
        self.keepalive = Keepalive(self.spec, self.pid, self.poll)
        self.keepalive.offer(self.spec["keepalive"])

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
                self._on_ready(fd)
            if (ended := exit_code(self.pid)) is not None:
                break
            self._act_on_time()
        self._end(ended)

    def _on_ready(self, fd: int) -> None:
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
        elif fd == self.keepalive.fd:
            self.keepalive.on_ready()
        elif fd in self.connections:
            self._on_connection(fd, self.connections[fd])

    def _copy_output(self) -> bool:
        try:
            data = os.read(self.output, 65536)
        except BlockingIOError:
            return False
        if data:
            self.log.write(data)
        else:
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
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
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
                self._add_user(connection, float(message["idle_timeout_s"]), message.get("keepalive"))
            case "who":
                self._tell_server(connection)
            case "ready" if self.state == "loading":
                self.state, self.facts = "ready", message["facts"]
                self._write_record()
                for each in self.connections.values():
                    each.send({"say": "ready", "facts": self.facts})
            case "pause" | "resume" as op:
                connection.pauses = op == "pause"
            case "keepalive":
                self.keepalive.order(float(message["every_s"]), int(message["max_tokens"]))
                self._act_on_time()
                self._tell_server(connection)
            case "release":
                connection.holds = connection.pauses = False
                self._after_user_left()
                stays = {"say": "kept", "users": len(self._users()), "idle_timeout_s": self.idle_timeout_s}
                connection.send({"say": "stopping"} if self.state == "stopping" else stays)
            case "stop":
                self._stop()
            case "kill":
                self._kill(str(message["why"]))

    # --- users ---

    def _users(self) -> list[Connection]:
        return [each for each in self.connections.values() if each.holds]

    def _add_user(self, connection: Connection, idle_timeout_s: float, keepalive: Json | None) -> None:
        connection.holds = self.state != "stopping"
        both = (idle_timeout_s, self.idle_timeout_s)
        longest = -1.0 if -1.0 in both else max(both)
        if longest != self.idle_timeout_s:
            self.idle_timeout_s = longest
            self._write_record()
        self.keepalive.offer(keepalive)
        self.idle_since = None
        self._tell_server(connection)

    def _after_user_left(self) -> None:
        users = self._users()
        if not users:
            self.idle_since = time.monotonic()
            self._act_on_time()
        elif self.state == "loading":
            users[0].send({"say": "lead"})  # said again to one that leads already: it does not mind

    def _tell_server(self, connection: Connection) -> None:
        users, deadline = self._users(), self._idle_deadline()
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
                "keepalive": self.keepalive.told(),
                "stops_in_s": None if deadline is None else max(0.0, deadline - time.monotonic()),
            }
        )

    # --- time ---

    def _idle_deadline(self) -> float | None:
        # A start that nobody waits for any more is never kept: nobody has proved what it is.
        allowed = self.idle_timeout_s if self.state == "ready" else 0.0
        return None if self.idle_since is None or allowed == -1 else self.idle_since + allowed

    def _wait_ms(self) -> int | None:
        deadlines: list[float | None] = [self.next_signal_at]
        if self.state != "stopping":
            deadlines = [self._idle_deadline(), self.keepalive.deadline()]
        nearest = min((each for each in deadlines if each is not None), default=None)
        if nearest is None:
            return None
        wait_s = nearest - time.monotonic()
        # poll takes no more than 24 days; whoever woke too early waits again.
        return max(0, int(wait_s * 1000) + 1) if wait_s < LONGEST_WAIT_S else LONGEST_WAIT_S * 1000

    def _act_on_time(self) -> None:
        idle = self._idle_deadline()
        if self.term_received or (idle is not None and time.monotonic() >= idle):
            self._stop()
        paused = any(each.pauses for each in self.connections.values())
        self.keepalive.serve(
            may_touch=self.state == "ready" and not paused, why_not="its users' requests run" if paused else ""
        )
        if self.state == "stopping" and time.monotonic() >= self.next_signal_at:
            self._signal_server()

    # --- stop ---

    def _on_term(self, *_: object) -> None:
        self.term_received = True  # acted upon by the loop, which the wakeup pipe ends the wait of

    def _stop(self) -> None:
        if self.state != "stopping":
            self.state = "stopping"
            self.next_signal_at = time.monotonic()

    def _kill(self, why: str) -> None:
        self.killed_for = self.killed_for if self.state == "stopping" else why
        self._stop()
        self.signals_sent = max(self.signals_sent, 2)
        self.next_signal_at = time.monotonic()

    def _signal_server(self) -> None:
        self.signals_sent += 1
        if self.signals_sent <= 2:
            os.kill(self.pid, signal.SIGTERM)
            os.kill(self.pid, signal.SIGCONT)  # a suspended process takes no other signal
            wait_s = self.spec["term_again_s" if self.signals_sent == 1 else "kill_s"]
        else:
            kill_group(self.pid)
            wait_s = KILL_AGAIN_S
        self.next_signal_at = time.monotonic() + wait_s

    def _end(self, ended: int) -> None:
        self.keepalive.close()
        limit = time.monotonic() + GROUP_GONE_S
        while group_lives(self.pid) and time.monotonic() < limit:
            reap_orphans()
            time.sleep(0.002)
        while self._copy_output():
            pass
        self._remove_traces()
        asked = self.state == "stopping" and not self.killed_for
        for each in self.connections.values():
            each.send({"say": "gone", "exit": ended, "asked": asked, "why": self.killed_for})

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
