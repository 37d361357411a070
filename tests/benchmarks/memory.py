"""Bytes that a step takes beyond the first 10,000: `python -m tests.benchmarks.memory`.

Peaks of processes that compile and run a chain of `set` steps with the whole record on, or a `foreach` of items.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.record import append
from tests.benchmarks.measure import verdict

BOUND_BYTES = 3000
FEW, MANY = 10_000, 30_000


def chain(steps: int) -> str:
    lines = ["version: 1", "steps:", "  s0: {set: {x: 1}}"]
    return "\n".join([*lines, *(f"  s{i}: {{needs: [s{i - 1}], set: {{x: 1}}}}" for i in range(1, steps))])


def items(count: int) -> str:
    return f"version: 1\nsteps:\n  each:\n    foreach: [{', '.join(map(str, range(count)))}]\n    set: {{x: 1}}\n"


FLOWS = {"chain": chain, "foreach": items}


def play(kind: str, steps: int) -> int:
    """The peak of this process in bytes."""
    append._datasync = lambda _: None
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "flow.yaml")
        path.write_text(FLOWS[kind](steps))
        finished = asyncio.run(run_flow(check_flow(path), Given(inputs={}, servers={}, cwd=Path(name))))
        assert finished.result.status == "succeeded"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def peak(kind: str, steps: int) -> int:
    command = [sys.executable, "-m", "tests.benchmarks.memory", kind, str(steps)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])


def main() -> int:
    codes = []
    for kind in FLOWS:
        few, many = peak(kind, FEW), peak(kind, MANY)
        print(f"{kind}: {few / 2**20:.0f} MiB for {FEW}, {many / 2**20:.0f} MiB for {MANY}")
        codes.append(verdict(f"{kind}, a step more", (many - few) / (MANY - FEW), BOUND_BYTES, " bytes"))
    return max(codes)


if __name__ == "__main__":
    if sys.argv[1:]:
        print(play(sys.argv[1], int(sys.argv[2])))
    else:
        sys.exit(main())
