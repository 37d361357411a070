"""Records and flows: cut lines, no room, a mistake in the file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gptoss_flow.record.journal_file import JournalDamage, read_journal
from tests.benchmarks.rlog import log_of
from tests.faults.stage import ASK, SCRIPTED, Figure, Scene, Stage, Tally

MEASURE = [
    sys.executable,
    "-c",
    "import sys; from tests.benchmarks.rlog import measure; print(*measure('stats', '--json', sys.argv[1]))",
]
"""From a small process: what a program takes at most counts from what the one that started it had."""


def torn(stage: Stage) -> Figure:
    """A record cut at every byte of its last line is readable, and loses that line alone."""
    tally = Tally()
    with stage.project(ASK) as project:
        project.run(*SCRIPTED)
        path = project.runs[-1] / "events.jsonl"
        whole, events = path.read_bytes(), list(read_journal(path))
        start = whole.rstrip(b"\n").rfind(b"\n") + 1
        for end in range(start, len(whole) + 1):
            path.write_bytes(whole[:end])
            damage = JournalDamage()
            found = list(read_journal(path, damage))
            all_is_there = end >= len(whole) - 1  # but for its newline at most
            right = (events, 0) if all_is_there else (events[:-1], int(end > start))
            tally.add("" if (found, damage.count) == right else f"cut at byte {end}")
    return tally.figure()


def no_room(stage: Stage) -> Figure:
    """Files may grow to so many bytes and no more: exit code 7, and the record is readable up to there."""
    limit_to = (
        "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
    )
    tally = Tally()
    with stage.project(ASK, PYTHONDONTWRITEBYTECODE="1") as project:
        for i in stage.times(10):
            limit = 400 + 200 * i
            command = [sys.executable, "-c", limit_to + "os.execv(sys.argv[2], sys.argv[2:])", str(limit)]
            command += project.command(*SCRIPTED)
            done = subprocess.run(command, cwd=project.folder, env=project.environ, capture_output=True, text=True)
            damage = JournalDamage()
            list(read_journal(project.runs[-1] / "events.jsonl", damage))
            well = done.returncode == 7 and damage.count <= 1 and "File too large" in done.stderr
            tally.add("" if well else f"at {limit} bytes: exit {done.returncode}, {done.stderr[-200:]!r}")
    return tally.figure()


def broken_flow(stage: Stage) -> Figure:
    """A flow with a mistake is refused within a second."""
    seconds = list[float]()
    with stage.project(ASK.replace("prompt", "promt"), PYTHONDONTWRITEBYTECODE="") as project:
        project.environ["PYTHONPYCACHEPREFIX"] = str(project.home / "compiled")
        project.run("run", "flow.yaml")  # what Python compiles on first use is not what is measured
        for _ in stage.times(5):
            began = time.monotonic()
            done = project.run("run", "flow.yaml")
            seconds.append(time.monotonic() - began)
    seconds.sort()
    return Figure(
        f"exit {done.code}, half of them within {seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s",
        done.code == 2 and seconds[len(seconds) // 2] < 1,
    )


def long_log(stage: Stage) -> Figure:
    """A log of a million lines is counted in 10 s and 100 MB, one of a quarter in a quarter of the time."""
    seen = list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "long.rlog")
        for rounds in (31_250, 125_000):
            with path.open("w", encoding="utf-8") as file:
                file.writelines(log_of(rounds, "A few words of text, as they are."))
            _, cpu_s, megabytes = map(float, subprocess.check_output([*MEASURE, str(path)], text=True).split())
            seen.append((cpu_s, megabytes))
    (quarter_s, _), (whole_s, megabytes) = seen
    said = f"a quarter of a million lines {quarter_s:.1f} s, a million {whole_s:.1f} s, {megabytes:.0f} MB"
    return Figure(said, whole_s <= 10 and whole_s <= 4 * 1.5 * quarter_s and megabytes <= 100)


SCENES: dict[str, Scene] = {
    "broken-flow": broken_flow,
    "torn-record": torn,
    "no-room": no_room,
    "long-log": long_log,
}
