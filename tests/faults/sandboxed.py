"""Attacks on the sandbox: everything that a tool's code must not reach, use up, or leave behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from gptoss_flow.tools.sandbox import KINDS, bwrap
from gptoss_flow.tools.sandbox.job import LIMITS, MIB, Ended, Job, Limits
from gptoss_flow.tools.sandbox.process import run
from tests.faults.stage import Figure, Scene, Stage, Tally
from tests.tools.sandbox.attack import BOMB, Try, attack, attack_as_nobody, python_of_everybody

GONE_S = 1.0
LIMIT_S = 10.0
DAEMONS = "(setsid sleep 1000 >/dev/null 2>&1 </dev/null &); setsid sh -c 'sleep 1000 & sleep 1000' & sleep 1000 &"
OURS = """
import asyncio, sys
from pathlib import Path
from gptoss_flow.tools.sandbox import KINDS
from gptoss_flow.tools.sandbox.job import Job
from gptoss_flow.tools.sandbox.process import run
job = Job(argv=["/bin/sh", "-c", sys.argv[2]], workspace=Path(sys.argv[1]))
asyncio.run(run(KINDS["bwrap"], job, timeout_s=60, keep_bytes=100))
"""
BOMBS: dict[str, tuple[str, Limits]] = {
    "processes": (BOMB, LIMITS),
    "memory": (
        "import os, time\nfor _ in range(8):\n if not os.fork():\n  b = b'x' * 100_000_000\n  time.sleep(60)\n"
        "time.sleep(60)",
        replace(LIMITS, memory_bytes=300 * MIB),
    ),
    "cpu": ("while True: pass", replace(LIMITS, cpu_s=1)),
    "disk": (
        "import os\nfor n in range(10**6):\n with open(str(n), 'wb') as f: f.write(bytes(4_000_000))",
        replace(LIMITS, disk_bytes=100 * MIB),
    ),
    "output": ("while True: print('x' * 100_000)", LIMITS),
}


def _works() -> None:
    problem = bwrap.probe()
    assert problem is None, f"not played: {problem}"


def every_attack(stage: Stage) -> Figure:
    """The whole list, as us and, where we are root, as nobody."""
    _works()
    said, met = [], True
    for who, tries in _attacks():
        reached = [one.name for one in tries if not one.blocked]
        met &= not reached
        said.append(f"as {who} {len(tries) - len(reached)}/{len(tries)} blocked")
        said += [f"reached: {name}" for name in reached]
    return Figure("; ".join(said), met)


def _attacks() -> list[tuple[str, list[Try]]]:
    with tempfile.TemporaryDirectory(prefix="scene-") as folder:
        found = [("root" if os.geteuid() == 0 else "a user", attack(Path(folder)))]
    if os.geteuid() == 0:
        python = python_of_everybody()
        assert python, "there is no Python that nobody can run"
        found.append(("nobody", attack_as_nobody(python)))
    return found


def killed(stage: Stage) -> Figure:
    """kill -9 of the process that runs a tool, daemons and all: nothing of it is left."""
    _works()
    tally = Tally()
    for _ in stage.times(20):
        with tempfile.TemporaryDirectory(prefix="scene-") as folder:
            os.mkfifo(Path(folder) / "begun")
            argv = [sys.executable, "-c", OURS, folder, f"{DAEMONS} echo > begun; wait"]
            with subprocess.Popen(argv) as ours:
                (Path(folder) / "begun").read_bytes()
                inside = psutil.Process(ours.pid).children(recursive=True)
                began = time.monotonic()
                ours.send_signal(signal.SIGKILL)
            while (alive := [one for one in inside if _runs(one)]) and time.monotonic() - began < 2 * GONE_S:
                psutil.wait_procs(alive, timeout=0.01)
            few = "" if len(inside) >= 5 else f"only {len(inside)} processes were there"
            tally.add(few or (f"{len(alive)} left" if alive else ""), time.monotonic() - began)
    return tally.figure(GONE_S)


def _runs(process: psutil.Process) -> bool:
    """Who has ended and only waits to be taken up does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def limits(stage: Stage) -> Figure:
    """Each bomb is ended by its own limit, soon."""
    _works()
    tally = Tally()
    for _ in stage.times(3):
        for name, (code, bounds) in BOMBS.items():
            with tempfile.TemporaryDirectory(prefix="scene-") as folder:
                began = time.monotonic()
                ended = _ran(Path(folder), code, bounds)
                took_s = time.monotonic() - began
                size = sum(file.stat().st_size for file in Path(folder).iterdir())
                fault = "" if ended.limit == name else f"{name} ended as {ended.limit}, {ended.exit_code}"
                tally.add(fault or ("wrote too much" if size > 4 * bounds.disk_bytes else ""), took_s)
    return tally.figure(LIMIT_S)


def _ran(folder: Path, code: str, bounds: Limits) -> Ended:
    job = Job(argv=["python", "-I", "-S", "-c", code], workspace=folder, limits=bounds)
    return asyncio.run(run(KINDS["bwrap"], job, timeout_s=30, keep_bytes=100))


SCENES: dict[str, Scene] = {"sandbox-attacks": every_attack, "sandbox-limits": limits, "sandbox-kill": killed}
