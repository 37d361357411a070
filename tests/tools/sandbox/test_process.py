"""A program in the real sandbox: what goes in and comes out, limits, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import ExitCode, StepError
from gptoss_flow.tools.sandbox import KINDS, bwrap
from gptoss_flow.tools.sandbox import guarded as room
from gptoss_flow.tools.sandbox.job import LIMITS, MIB, Ended, Job, Kind, Launch, Limits
from gptoss_flow.tools.sandbox.process import Kept, last_word, run
from tests.conftest import need
from tests.processes import command_lines_of_children, gone_after
from tests.tools.sandbox.attack import BOMB

GONE_S = 1.0
BEGUN = "echo > begun"
"""Said in a sandbox, heard by `begun`."""


def begun(workspace: Path) -> None:
    """Wait until a program in the sandbox says so, through a FIFO."""
    (workspace / "begun").read_text()


@pytest.fixture(autouse=True)
def _works(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    os.mkfifo(tmp_path / "begun")


def ran(
    workspace: Path,
    *argv: str,
    stdin: bytes = b"",
    timeout_s: float = 60,
    keep: int = 1 << 16,
    limits: Limits = LIMITS,
    **more: Any,
) -> Ended:
    job = Job(argv=argv, workspace=workspace, limits=limits, **more)
    return asyncio.run(run(KINDS["bwrap"], job, timeout_s=timeout_s, keep_bytes=keep, stdin=stdin))


def shell(workspace: Path, line: str, **more: Any) -> Ended:
    return ran(workspace, "/bin/sh", "-c", line, **more)


def python(workspace: Path, code: str, **more: Any) -> Ended:
    return ran(workspace, "python", "-I", "-S", "-c", code, **more)


def test_input_output_and_the_exit_code_pass(tmp_path: Path) -> None:
    assert shell(tmp_path, "cat; echo é >&2; exit 3", stdin=b"a\0b") == Ended(3, "a\0b", "é\n", False)
    large = b"0123456789abcdef" * 40_000
    assert shell(tmp_path, "cat", stdin=large, keep=2 << 20).stdout.encode() == large


def test_a_signal_is_told_as_shells_do(tmp_path: Path) -> None:
    assert shell(tmp_path, "kill -TERM $$").exit_code == 128 + signal.SIGTERM


def test_the_workspace_is_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("in")
    assert shell(tmp_path, "pwd; cat a; echo out > b").stdout == "/workspace\nin"
    assert (tmp_path / "b").read_text() == "out\n"


def test_the_environment_is_what_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "do-not-tell")
    said = shell(tmp_path, "env; cat /proc/*/environ", env={"WANTED": "here", "LANG": "C"}).stdout
    assert "WANTED=here" in said and "LANG=C\n" in said and "HOME=/tmp\n" in said
    assert "CANARY" not in said and "do-not-tell" not in said


def test_the_network_is_there_only_where_it_is_granted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; socket.create_connection(('127.0.0.1', {server.getsockname()[1]})); print('there')"
        assert "Connection refused" in python(tmp_path, code).stderr
        assert python(tmp_path, code, network=True).stdout == "there\n"


def test_a_secret_stands_in_no_command_line(tmp_path: Path) -> None:
    async def look() -> list[str]:
        job = Job(argv=["/bin/sh", "-c", f"{BEGUN}; sleep 60"], workspace=tmp_path, env={"KEY": "hush-hush"})
        task = asyncio.create_task(run(KINDS["bwrap"], job, timeout_s=30, keep_bytes=100))
        await asyncio.to_thread(begun, tmp_path)
        told = command_lines_of_children()
        task.cancel()
        await asyncio.wait([task])
        return told

    assert (told := asyncio.run(look())) and not any("hush-hush" in line for line in told)


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="cannot be run: no-such-program: No such file"):
        ran(tmp_path, "no-such-program")
    (tmp_path / "plain").write_text("x")
    with pytest.raises(StepError, match=r"cannot be run: \./plain: Permission denied"):
        ran(tmp_path, "./plain")


def test_output_is_cut_in_the_middle(tmp_path: Path) -> None:
    ended = shell(tmp_path, "seq 100000; seq 5 >&2", keep=100)
    assert ended.truncated and ended.stderr == "1\n2\n3\n4\n5\n"
    assert ended.stdout.startswith("1\n2\n3\n") and ended.stdout.endswith("99999\n100000\n")
    assert "bytes left out" in ended.stdout and len(ended.stdout) < 200


@given(pieces=st.lists(st.binary(max_size=40)), most=st.integers(2, 60))
def test_what_is_kept_is_the_beginning_and_the_end(pieces: list[bytes], most: int) -> None:
    kept, whole = Kept(most), b"".join(pieces)
    for piece in pieces:
        kept.add(piece)
    half = most // 2
    if len(whole) <= 2 * half:
        assert not kept.truncated and kept.text() == whole.decode("utf-8", "replace")
    else:
        assert kept.truncated
        assert kept.text().startswith(whole[:half].decode("utf-8", "replace"))
        assert kept.text().endswith(whole[-half:].decode("utf-8", "replace"))
        assert f"… {len(whole) - 2 * half} bytes left out …" in kept.text()


@pytest.mark.parametrize("data", [b"", b"exit", b"exit x", b"exit -1", b"exit 9999", b"limit no such", b"\xff 1"])
def test_a_last_word_that_is_none_is_an_error(data: bytes) -> None:
    with pytest.raises(StepError, match="no word"):
        last_word(data)


def runs(process: psutil.Process) -> bool:
    """Who has ended and only waits to be taken up does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# --- limits ------------------------------------------------------------------------------------------------------

FILL = "b = []\nwhile True: b.append(b'x' * 1000_000)"
FORKED = """
import os, time
for _ in range(4):
    if not os.fork():
        b = b'x' * 40_000_000
        time.sleep(60)
time.sleep(60)
"""
SHARED = """
import os, time
b = b'x' * 80_000_000
for _ in range(4):
    if not os.fork():
        time.sleep(0.3)
        os._exit(0)
for _ in range(4): os.wait()
print('well')
"""


@pytest.mark.parametrize(
    ("limit", "code", "limits"),
    [
        ("processes", BOMB, {"processes": 30}),
        ("memory", FORKED, {"memory_bytes": 120_000_000}),
        ("cpu", "while True: pass", {"cpu_s": 1}),
        (
            "disk",
            "f = open('big', 'wb')\nwhile True: f.write(bytes(1000_000))",
            {"disk_bytes": 8 * MIB},
        ),
        ("output", "while True: print('x' * 10_000)", {"output_bytes": MIB}),
    ],
)
def test_a_limit_ends_the_program_and_is_named(
    tmp_path: Path, limit: str, code: str, limits: dict[str, int]
) -> None:
    ended = python(tmp_path, code, limits=replace(LIMITS, **limits), timeout_s=30)
    assert ended.limit == limit and not ended.timed_out


def test_a_program_meets_the_end_of_its_own_memory(tmp_path: Path) -> None:
    ended = python(tmp_path, FILL, limits=replace(LIMITS, memory_bytes=100 * MIB))
    assert ended.exit_code == 1 and "MemoryError" in ended.stderr


def test_memory_that_processes_share_counts_once(tmp_path: Path) -> None:
    ended = python(tmp_path, SHARED, limits=replace(LIMITS, memory_bytes=150_000_000))
    assert ended.stdout == "well\n"


def test_files_and_descriptors_have_their_bounds(tmp_path: Path) -> None:
    limits = replace(LIMITS, file_bytes=1000_000, open_files=40, temporary_bytes=MIB)
    assert "File too large" in python(tmp_path, "open('f', 'wb').write(bytes(2000_000))", limits=limits).stderr
    assert (tmp_path / "f").stat().st_size <= 1000_000
    assert "Too many open" in python(tmp_path, "a = [open('/dev/null') for _ in range(50)]", limits=limits).stderr
    for folder in ("/tmp", "/dev/shm"):
        fill = f"for n in range(4): open(f'{folder}/{{n}}', 'wb').write(bytes(500_000))"
        assert "No space left" in python(tmp_path, fill, limits=limits).stderr


def test_its_time_ends(tmp_path: Path) -> None:
    ended = shell(tmp_path, "echo begun; sleep 60", timeout_s=1)
    assert ended == Ended(None, "begun\n", "", False, timed_out=True)


# --- nothing is left ---------------------------------------------------------------------------------------------

DAEMONS = "(setsid sleep 1000 >/dev/null 2>&1 </dev/null &); setsid sh -c 'sleep 1000 & sleep 1000' & sleep 1000 &"


def test_what_a_program_leaves_running_ends_with_it(tmp_path: Path) -> None:
    began = time.monotonic()
    assert shell(tmp_path, f"{DAEMONS} echo done", timeout_s=60).stdout == "done\n"
    assert gone_after(tmp_path, GONE_S) < GONE_S and time.monotonic() - began < 30


def test_cancelling_ends_everything_within_a_second(tmp_path: Path) -> None:
    async def cancelled() -> float:
        job = Job(argv=["/bin/sh", "-c", f"trap '' TERM INT HUP; {DAEMONS} {BEGUN}; wait"], workspace=tmp_path)
        task = asyncio.create_task(run(KINDS["bwrap"], job, timeout_s=60, keep_bytes=100))
        await asyncio.to_thread(begun, tmp_path)
        began = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gone_after(tmp_path, GONE_S)
        return time.monotonic() - began

    assert asyncio.run(cancelled()) < GONE_S


def test_without_a_sandbox_it_ends_all_that_the_program_started(tmp_path: Path) -> None:
    async def both() -> None:
        for timeout_s, line in ((60.0, f"{DAEMONS} echo done"), (0.5, f"trap '' TERM; {DAEMONS} wait")):
            job = Job(argv=["/bin/sh", "-c", line], workspace=tmp_path)
            ended = await run(KINDS["dangerously_none"], job, timeout_s=timeout_s, keep_bytes=100)
            assert ended.timed_out == (timeout_s < 60)
            gone_after(tmp_path, GONE_S)

    asyncio.run(both())


def test_killing_us_ends_everything_within_a_second(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; from gptoss_flow.tools.sandbox import KINDS; "
        "from gptoss_flow.tools.sandbox.job import Job; from gptoss_flow.tools.sandbox.process import run; "
        "job = Job(argv=['/bin/sh', '-c', sys.argv[2]], workspace=Path(sys.argv[1])); "
        "asyncio.run(run(KINDS['bwrap'], job, timeout_s=60, keep_bytes=100))"
    )
    argv: Sequence[str] = [sys.executable, "-c", code, str(tmp_path), f"{DAEMONS} {BEGUN}; wait"]
    with subprocess.Popen(argv) as ours:
        begun(tmp_path)
        inside = psutil.Process(ours.pid).children(recursive=True)
        assert len(inside) >= 4
        ours.kill()
    until = time.monotonic() + GONE_S
    while alive := [one for one in inside if runs(one)]:
        assert time.monotonic() < until, alive
        psutil.wait_procs(alive, timeout=0.02)


def test_what_we_run_from_can_be_neither_changed_nor_put_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a/venv/bin").mkdir(parents=True)
    (tmp_path / "a/venv/bin/python").write_text("true")
    monkeypatch.setattr(room, "running_from", lambda: [tmp_path / "a/venv/bin"])
    for attack in (
        "mv a z",
        "mv a/venv a/z",
        "mv a/venv/bin a/venv/z",
        "rm -rf a",
        "echo false > a/venv/bin/python",
        "mkdir z && mv -T z a",
        "python -c \"import ctypes; exit(ctypes.CDLL(None).renameat2(-100, b'a', -100, b'z', 2) != 0)\"",
    ):
        (tmp_path / "z").mkdir(exist_ok=True)
        assert shell(tmp_path, attack).exit_code != 0, attack
        (tmp_path / "z").rmdir()
        assert (tmp_path / "a/venv/bin/python").read_text() == "true", attack
    assert shell(tmp_path, "echo x > a/new; echo y > a/venv/new").exit_code == 0


def test_what_was_swapped_while_the_sandbox_was_made_is_not_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".git").mkdir()
    true_guard = bwrap.guarded
    monkeypatch.setattr(bwrap, "guarded", lambda *at: [replace(one, inode=1) for one in true_guard(*at)])
    with pytest.raises(StepError, match="was replaced while the sandbox was made") as refused:
        shell(tmp_path, "echo no")
    assert refused.value.exit_code is ExitCode.UNAVAILABLE


def test_a_call_that_is_cancelled_before_it_starts_leaves_no_descriptor_open(tmp_path: Path) -> None:
    made: list[int] = []
    real, asked, go_on = KINDS["bwrap"], threading.Event(), threading.Event()

    class Slow:
        def launch(self, job: Job) -> Launch:
            asked.set()
            go_on.wait(10)
            launch = real.launch(job)
            made.extend(launch.pass_fds)
            return launch

    async def cancelled() -> None:
        job = Job(argv=["true"], workspace=tmp_path)
        task = asyncio.create_task(run(cast(Kind, Slow()), job, timeout_s=9, keep_bytes=9))
        await asyncio.to_thread(asked.wait, 10)
        others = asyncio.all_tasks() - {task, asyncio.current_task()}
        task.cancel()
        await asyncio.wait([task])
        go_on.set()
        await asyncio.gather(*others)

    asyncio.run(cancelled())
    assert made
    for descriptor in made:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
