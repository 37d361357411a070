"""Runs inside a sandbox as its first process: starts one program, carries its input and output, holds its limits.

It speaks with the host by frames on its own standard input and output, which the program does not have: a
letter, a length, that many bytes. From the host: `s` what is to run (first), `i` input, `c` its end. To the
host: `b` the program runs, `o` and `e` its output, `r` what it wrote to descriptor 3 where it has one, `x` how it
ended (last). When the host is gone or the program ends, this process ends, and with it, where it is process
1, all that is left.

Nothing but the standard library is there, and the interpreter may be as old as 3.8.
"""

from __future__ import annotations

# Without the enumerations of `signal`, which take as long to load as all the rest.
import _signal as signal  # type: ignore[import-not-found]
import ctypes
import errno
import fcntl
import marshal
import os
import resource
import select
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

HEADER = struct.Struct(">cI")
TICK_S = 0.05
PIECE = 65536
PENDING = 1 << 20
"""Bytes that may wait for the host before the program's output is no longer read."""
LAST_WORDS = 4 << 20
"""How much is read of pipes after the program's end and before a reply: others may fill them without end."""
HELD = ("RssAnon", "RssShmem", "VmSwap", "VmPTE")
"""What of /proc/PID/status is memory that the process holds, page tables too: of empty pages there may be many."""
SPARE = 64
"""How many processes more the kernel allows, where it counts: who is beyond the limit is ended and told so."""
ABOVE = 32
"""A number above those of all descriptors that are open here."""
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
LIMITS = (
    ("RLIMIT_DATA", "memory_bytes"),
    ("RLIMIT_FSIZE", "file_bytes"),
    ("RLIMIT_NOFILE", "open_files"),
    ("RLIMIT_CPU", "cpu_s"),
)


class Ignoring:
    """As `contextlib.suppress`, which would have to be loaded."""

    def __init__(self, *errors: type[BaseException]) -> None:
        self.errors = errors

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, self.errors)


def main() -> None:
    control = Control()
    spec = control.first()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        # What the program may not read or write of this process: its memory, its descriptors.
        libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for name, device, inode in spec["same"]:
        status = os.stat(name)
        if (status.st_dev, status.st_ino) != (device, inode):
            sys.exit(f"{name} was replaced while the sandbox was made")
    Warden(control, spec).run()


class Control:
    """The frames to and from the host."""

    def __init__(self) -> None:
        self.source, self.target = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.close(null)
        self.arrived = bytearray()
        self.letter = b""
        self.pending = bytearray()

    def first(self) -> Any:
        while (data := self.next(b"s")) is None:
            if not self.read():
                os._exit(0)
        os.set_blocking(self.target, False)
        return marshal.loads(data)

    def read(self) -> bool:
        """Whether the host is still there."""
        data = os.read(self.source, PIECE)
        self.arrived += data
        return bool(data)

    def next(self, letters: bytes) -> bytes | None:
        """The next frame, if it has arrived whole; it must be one of these."""
        if len(self.arrived) < HEADER.size:
            return None
        letter, length = HEADER.unpack_from(self.arrived)
        if len(self.arrived) < HEADER.size + length:
            return None
        assert letter in letters, letter
        self.letter = letter
        data = bytes(self.arrived[HEADER.size : HEADER.size + length])
        del self.arrived[: HEADER.size + length]
        return data

    def say(self, letter: bytes, data: bytes) -> None:
        self.pending += HEADER.pack(letter, len(data)) + data

    def flush(self) -> None:
        with Ignoring(BlockingIOError):
            while self.pending:
                del self.pending[: os.write(self.target, self.pending[:PIECE])]

    def last(self, word: str, what: object) -> None:
        os.set_blocking(self.target, True)
        self.say(b"x", f"{word} {what}".encode())
        while self.pending:
            del self.pending[: os.write(self.target, self.pending)]


class Warden:
    def __init__(self, control: Control, spec: Any) -> None:
        self.control = control
        self.spec = spec
        self.limits = spec["limits"]
        self.stdin: int | None = None
        self.input = bytearray()
        self.input_ends = False
        self.at_start = room()
        self.wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self.wakeup, False)
        # Process 1 hears no signal from its own processes that it has no handler for.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> NoReturn:
        try:
            self.start()
        except OSError as error:
            self.end("error", f"{self.spec['argv'][0][:200]}: {os.strerror(error.errno or errno.EINVAL)}")
        self.control.say(b"b", b"")
        self.take()
        next_look = 0.0
        while True:
            self.wait()
            status = self.reap()
            if status is not None:
                self.drain()
                self.end(*ended(status))
            now = time.monotonic()
            if now >= next_look:
                if limit := self.exceeded():
                    self.end("limit", limit)
                next_look = now + TICK_S

    def start(self) -> None:
        """Fork and execute; what the program cannot be executed for is raised here."""
        stdin, feed = os.pipe()
        self.stdin = feed
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        self.reply, reply = os.pipe()
        failed, fail = os.pipe()
        self.readers = {self.out: b"o", self.err: b"e"}
        if self.spec["replies"]:
            self.readers[self.reply] = b"r"
        for descriptor in (self.out, self.err, self.reply, feed):
            os.set_blocking(descriptor, False)
        self.child = os.fork()
        if self.child == 0:
            try:
                self.execute(stdin, out, err, reply)
            except BaseException as error:
                code = error.errno if isinstance(error, OSError) and error.errno else errno.EINVAL
                os.write(fail, bytes([code]))
            os._exit(127)
        for descriptor in (stdin, out, err, reply, fail):
            os.close(descriptor)
        if why := os.read(failed, 1):
            os.waitpid(self.child, 0)
            raise OSError(why[0], "")
        os.close(failed)

    def execute(self, stdin: int, out: int, err: int, reply: int) -> NoReturn:
        signal.set_wakeup_fd(-1)
        for number in range(1, signal.NSIG):
            with Ignoring(OSError, ValueError):  # SIGKILL, SIGSTOP and libc's own
                signal.signal(number, signal.SIG_DFL)
        os.setsid()
        given = [stdin, out, err, reply] if self.spec["replies"] else [stdin, out, err]
        # First out of the way of the numbers that they are to have.
        moved = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, ABOVE) for descriptor in given]
        for number, descriptor in enumerate(moved):
            os.dup2(descriptor, number)
        for name, key in LIMITS:
            self.limit(getattr(resource, name), self.limits[key])
        if self.spec["counts_processes"]:
            self.limit(resource.RLIMIT_NPROC, self.limits["processes"] + SPARE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(self.spec["nice"])
        os.chdir(self.spec["folder"])
        os.execvpe(self.spec["argv"][0], self.spec["argv"], self.spec["env"])

    @staticmethod
    def limit(which: int, value: int) -> None:
        _, hard = resource.getrlimit(which)
        if hard != resource.RLIM_INFINITY:
            value = min(value, hard)
        # SIGXCPU comes at the soft limit, and tells; SIGKILL comes at the hard one.
        resource.setrlimit(which, (value, value + 1 if which == resource.RLIMIT_CPU and value != hard else value))

    # --- the loop's parts ---

    def wait(self) -> None:
        poll = select.poll()
        poll.register(self.wakeup, select.POLLIN)
        poll.register(self.control.source, select.POLLIN)
        if self.control.pending:
            poll.register(self.control.target, select.POLLOUT)
        if len(self.control.pending) < PENDING:
            for descriptor in self.readers:
                poll.register(descriptor, select.POLLIN)
        if self.stdin is not None and self.input:
            poll.register(self.stdin, select.POLLOUT)
        for descriptor, _ in poll.poll(TICK_S * 1000):
            if descriptor == self.wakeup:
                os.read(self.wakeup, PIECE)
            elif descriptor == self.control.source:
                self.hear()
            elif descriptor in self.readers:
                self.carry(descriptor)
        self.feed()
        self.control.flush()

    def hear(self) -> None:
        if not self.control.read():
            self.end("", "")
        self.take()

    def take(self) -> None:
        while (data := self.control.next(b"ic")) is not None:
            if self.control.letter == b"i":
                self.input += data
            else:
                self.input_ends = True

    def feed(self) -> None:
        if self.stdin is None:
            return
        try:
            while self.input:
                del self.input[: os.write(self.stdin, self.input[:PIECE])]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self.input.clear()
            self.input_ends = True
        if self.input_ends:
            os.close(self.stdin)
            self.stdin = None

    def carry(self, descriptor: int) -> bool:
        """One piece of output to the host. Whether there was one."""
        if self.readers.get(descriptor) == b"r":
            self.drain()  # What was written before a reply arrives before it.
        try:
            data = os.read(descriptor, PIECE)
        except BlockingIOError:
            return False
        if data:
            self.control.say(self.readers[descriptor], data)
        else:
            del self.readers[descriptor]
            os.close(descriptor)
        return bool(data)

    def drain(self) -> None:
        for descriptor in (self.out, self.err):
            left = LAST_WORDS // PIECE
            while left and descriptor in self.readers and self.carry(descriptor):
                left -= 1

    def reap(self) -> int | None:
        """The program's status once it has ended; whatever else was left to this process is taken up too."""
        for _ in range(10_000):
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid == self.child:
                return status
        return None

    def exceeded(self) -> str:
        """The limit that all processes together are beyond; '' if none is."""
        if not self.spec["own_processes"]:
            return ""
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        if len(pids) > self.limits["processes"]:
            return "processes"
        told = [told_of(pid) for pid in pids]
        if sum(one.get("Threads", 0) for one in told) > self.limits["processes"]:
            return "processes"
        held = sum(one.get(name, 0) for one in told for name in HELD)
        # Pages that processes share were counted once for each: only then is it worth asking exactly.
        if held * 1024 > self.limits["memory_bytes"] and sum(map(share_of, pids)) > self.limits["memory_bytes"]:
            return "memory"
        if sum(map(written_by, pids)) > self.limits["disk_bytes"]:
            return "disk"
        free, memory = room()
        if free < self.limits["disk_reserve_bytes"] and self.at_start[0] - free > PENDING * 64:
            return "disk"
        if memory < self.limits["memory_reserve_bytes"] and self.at_start[1] - memory > PENDING * 64:
            return "memory"
        return ""

    def end(self, word: str, what: object) -> NoReturn:
        if not self.spec["own_processes"]:
            kill_descendants(self.child)
        if word:
            with Ignoring(OSError):
                self.control.last(word, what)
        os._exit(0)


def ended(status: int) -> tuple[str, int]:
    return ("signal", os.WTERMSIG(status)) if os.WIFSIGNALED(status) else ("exit", os.WEXITSTATUS(status))


def told_of(pid: str) -> dict[str, int]:
    """The numbers of /proc/PID/status; sizes in KiB."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    numbers = {}
    for line in lines:
        name, _, rest = line.partition(":")
        first = rest.split(None, 1)[0] if rest.strip() else ""
        if first.isdigit():
            numbers[name] = int(first)
    return numbers


def share_of(pid: str) -> int:
    """Bytes of memory that this process alone answers for: of what it shares, its share."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            lines = file.read().decode().splitlines()
    except OSError:
        told = told_of(pid)
        return 1024 * sum(told.get(name, 0) for name in HELD)
    wanted = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")
    tables = told_of(pid).get("VmPTE", 0)
    return 1024 * (tables + sum(int(line.split()[1]) for line in lines if line.startswith(wanted)))


def written_by(pid: str) -> int:
    """Bytes that this process, and those whose end it was told, had written to a disk."""
    with Ignoring(OSError), open(f"/proc/{pid}/io", "rb") as file:
        for line in file:
            if line.startswith(b"write_bytes:"):
                return int(line.split()[1])
    return 0


def room() -> tuple[int, int]:
    """Bytes free on the workspace's disk, and bytes of memory available."""
    disk = os.statvfs(".")
    memory = sys.maxsize
    with Ignoring(OSError), open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                memory = int(line.split()[1]) * 1024
    return disk.f_bavail * disk.f_frsize, memory


def kill_descendants(child: int) -> None:
    """Where no namespace does it: the program's group, then, on Linux, whatever was left to this process."""
    with Ignoring(OSError):
        os.killpg(child, signal.SIGKILL)
    own = str(os.getpid())
    for _ in range(1000):
        left = [pid for pid, parent in parents() if parent == own]
        if not left:
            return
        for pid in left:
            with Ignoring(OSError):
                os.kill(int(pid), signal.SIGKILL)
                os.waitpid(int(pid), 0)


def parents() -> Iterator[tuple[str, str]]:
    if not os.path.isdir("/proc/self"):
        return
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/stat", "rb") as file:
                    yield pid, file.read().rpartition(b")")[2].split()[1].decode()
            except OSError:
                continue


if __name__ == "__main__":
    main()
