"""What the benchmarks share: measured processes, interleaved rounds, a verdict, a project with the demo model."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from gptoss_flow.testing.project import Project
from tests.processes import processes_of
from tests.stage import demo_cache

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its bytecode

SCRIPT = Path(sys.executable).with_name("gptoss-flow")
"""The command as a user has it; `python -m gptoss_flow` would cost a few ms more."""


class Took(NamedTuple):
    """Seconds: of the clock, and of the processor (both kinds, the process alone or with its children)."""

    wall_s: float
    cpu_s: float


def run(command: Sequence[str | Path], environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Took:
    """Run a program to its end; one that fails is an error, with what it said."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, env=environ, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        _, status, used = os.wait4(process.pid, 0)
        took = Took(time.perf_counter() - began, used.ru_utime + used.ru_stime)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        assert process.returncode == 0, f"{command}: exit {process.returncode}: {said.read().decode()[-500:]}"
    return took


def timed(act: Callable[[], object]) -> Took:
    """What a call takes in this process, all its threads."""
    began, cpu = time.perf_counter(), time.process_time()
    act()
    return Took(time.perf_counter() - began, time.process_time() - cpu)


def interleaved(rounds: int, *acts: Callable[[], Took]) -> list[Took]:
    """The medians of each, taken in turns and every other round backwards, so that all meet the same weather."""
    seen: list[list[Took]] = [[] for _ in acts]
    for number in range(rounds):
        order = range(len(acts)) if number % 2 == 0 else reversed(range(len(acts)))
        for which in order:
            seen[which].append(acts[which]())
    return [Took(*map(statistics.median, zip(*each, strict=True))) for each in seen]


def verdict(what: str, value: float, bound: float, unit: str = "") -> int:
    """Print it and give the exit code: 0 where it keeps the bound."""
    met = value <= bound
    print(f"{what}: {value:.3g}{unit} (bound {bound:g}{unit}){'' if met else '  <-- MISSED'}", flush=True)
    return 0 if met else 1


@contextmanager
def demo_project(**environ: str) -> Iterator[Project]:
    """A project with a home of its own, in which the demo model need not be fetched."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        project = Project(folder, {"XDG_CACHE_HOME": str(demo_cache(folder / "cache")), **environ})
        try:
            yield project
        finally:
            for left in processes_of(folder):
                left.kill()


@contextmanager
def warm_server(
    project: Project, keys: str = "threads: 1, context: 1024, parallel: 4"
) -> Iterator[dict[str, str]]:
    """The demo model's server, left running as profile `warm`: what `server ps` says of it, and its `key`."""
    project.write("profiles/warm.yaml", f"version: 1\nname: warm\nextends: demo\n{keys.replace(', ', chr(10))}\n")
    done = project.run("server", "start", "warm")
    assert done.code == 0, done.err
    try:
        (server,) = project.run("server", "ps", "--json").json
        yield {**server, "key": Path(server["key_file"]).read_text()}
    finally:
        project.run("server", "stop", "warm")
