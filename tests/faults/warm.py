"""Commands run in forks of one process that has imported the program: a start costs 20 ms in place of 500.

A fork can be traced: it stops before its first instruction, `strace` is attached, and what is injected there
(kill -9 at the k-th write, ENOSPC, EIO) comes from the kernel's side of the call, as in a process of its own.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).parents[2]
CALLS = ("write", "fsync", "fdatasync", "rename", "openat", "mkdir", "unlink", "ftruncate", "fchmod", "chmod")
"""What a record is made with."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that ended; `code` is negative for the signal that ended it. `trace` has a line for each call."""

    code: int
    out: str
    err: str
    trace: tuple[str, ...] = ()

    @property
    def was_hit(self) -> bool:
        """Whether what was to be injected was."""
        return self.code == -signal.SIGKILL or any("(INJECTED)" in line for line in self.trace)


class Warm:
    """The process that is forked. `with Warm(environ) as warm: warm.run(folder, "run", "flow.yaml")`."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.warm"],
            cwd=REPOSITORY,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(30)
        assert self._server.stdout is not None
        self._server.stdout.close()

    def run(self, folder: Path, *args: str, inject: str = "", trace: bool = False, **more: Any) -> Ended:
        """Run `gptoss-flow` in a folder, to its end. `inject`: as `strace -e inject=` takes it.

        `more`: `files`, the limit on open files; `short`, which write takes half of what it was given.
        """
        return self.wait(self.start(folder, *args, inject=inject, trace=trace, **more))

    def start(self, folder: Path, *args: str, inject: str = "", trace: bool = False, **more: Any) -> Running:
        traced = bool(inject) or trace
        number = time.monotonic_ns()
        out = folder.parent / f"said-{number}"
        self._say({"args": args, "folder": str(folder), "out": str(out), "stop": traced, **more})
        pid = self._hear()["pid"]
        tracer, log = None, folder.parent / f"trace-{number}"
        if traced:
            tracer = _attach(pid, inject, log)
            os.kill(pid, signal.SIGCONT)
        return Running(pid, out, tracer, log)

    def wait(self, running: Running) -> Ended:
        self._say({"wait": running.pid})
        code = self._hear()["code"]
        if running.tracer is not None:
            running.tracer.communicate(timeout=30)
        out, err = (Path(f"{running.out}.{stream}") for stream in ("out", "err"))
        lines = running.log.read_text("utf-8", "replace").splitlines() if running.tracer is not None else ()
        texts = out.read_text("utf-8", "replace"), err.read_text("utf-8", "replace")
        ended = Ended(code, *texts, tuple(lines))
        for path in (out, err, running.log):
            path.unlink(missing_ok=True)
        return ended

    def _say(self, what: Mapping[str, Any]) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps(what) + "\n")
        self._server.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._server.stdout is not None
        return json.loads(self._server.stdout.readline())  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Running:
    pid: int
    out: Path
    tracer: subprocess.Popen[bytes] | None
    log: Path


def _attach(pid: int, inject: str, log: Path) -> subprocess.Popen[bytes]:
    command = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
    command += ["-e", f"inject={inject}"] if inject else []
    tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    ready, _, _ = select.select([tracer.stderr], [], [], 20)
    said = tracer.stderr.readline() if ready else b""
    assert b"attached" in said, f"strace: {said!r}"
    return tracer


# --- the process that is forked -------------------------------------------------------------------------------


def serve() -> None:
    from gptoss_flow.cli import diff, replay, resume, run  # noqa: F401  what a fork needs no more import
    from gptoss_flow.cli.main import main
    from gptoss_flow.tools import TOOLS
    from tests.faults.effect import TOOLS as OURS

    TOOLS.update({tool.name: tool for tool in OURS})
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            pid = os.fork()
            if not pid:
                _be(main, request)
            if request["stop"]:
                os.waitpid(pid, os.WUNTRACED)
            answer = {"pid": pid}
        print(json.dumps(answer), flush=True)


def _be(main: Any, request: dict[str, Any]) -> None:
    """A command's process, from its start to its end."""
    code = 99
    try:
        os.chdir(request["folder"])
        for number, stream in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{request['out']}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, 64)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        if request["stop"]:
            os.kill(os.getpid(), signal.SIGSTOP)
        if "files" in request:
            resource.setrlimit(resource.RLIMIT_NOFILE, (request["files"], request["files"]))
        if "short" in request:
            _shorten(request["short"])
        code = main(request["args"])
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _shorten(number: int) -> None:
    """That write takes half of what it is given."""
    real, made = os.write, 0

    def write(descriptor: int, data: Any) -> int:
        nonlocal made
        made += 1
        return real(descriptor, data[: max(1, len(data) // 2)] if made == number else data)

    os.write = write


if __name__ == "__main__":
    serve()
