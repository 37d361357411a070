"""What a step takes beyond the first 10,000, in bytes and in time: `python -m tests.benchmarks.memory [STEPS]`.

Peaks and processor time of processes that compile and run a chain of `set` steps with the whole record on, a
`foreach` of items, or flows of 1,000 steps inside a flow: the longest run that is allowed has 100,000 steps.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.record import append
from tests.benchmarks.measure import verdict
from tests.peak import peak_bytes

BOUND_BYTES = 3000
LINEAR = 1.3
"""How much dearer a step of the longer run may be than one of the shorter."""
FEW, MANY = 10_000, 30_000
INNER = 1000


def chain(steps: int, folder: Path) -> str:
    lines = ["version: 1", "steps:", "  s0: {set: {x: 1}}"]
    return "\n".join([*lines, *(f"  s{i}: {{needs: [s{i - 1}], set: {{x: 1}}}}" for i in range(1, steps))])


def items(count: int, folder: Path) -> str:
    return f"version: 1\nsteps:\n  each:\n    foreach: ${{{{ range({count}) }}}}\n    set: {{x: 1}}\n"


def nested(steps: int, folder: Path) -> str:
    (folder / "inner.yaml").write_text(chain(INNER - 1, folder))
    return "\n".join(["version: 1", "steps:", *(f"  o{i}: {{flow: inner.yaml}}" for i in range(steps // INNER))])


FLOWS: dict[str, Callable[[int, Path], str]] = {"chain": chain, "foreach": items, "nested": nested}


def play(kind: str, steps: int) -> tuple[int, float]:
    """The peak of this process in bytes, and the processor time in seconds."""
    append._datasync = lambda _: None
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "flow.yaml")
        path.write_text(FLOWS[kind](steps, Path(name)))
        began = time.process_time()
        finished = asyncio.run(run_flow(check_flow(path), Given(inputs={}, servers={}, cwd=Path(name))))
        took_s = time.process_time() - began
        assert finished.result.status == "succeeded"
    peak = peak_bytes()
    return peak, took_s


def apart(kind: str, steps: int) -> tuple[int, float]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", kind, str(steps)]
    peak, took_s = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[-2:]
    return int(peak), float(took_s)


def main(many: int) -> int:
    codes = []
    for kind in FLOWS:
        (few_bytes, few_s), (many_bytes, many_s) = apart(kind, FEW), apart(kind, many)
        print(f"{kind}: {few_bytes / 2**20:.0f} MiB, {few_s:.2f} s for {FEW}")
        print(f"{kind}: {many_bytes / 2**20:.0f} MiB, {many_s:.2f} s for {many}")
        codes += [
            verdict(f"{kind}, a step more", (many_bytes - few_bytes) / (many - FEW), BOUND_BYTES, " bytes"),
            verdict(f"{kind}, a step of {many} against one of {FEW}", many_s / many / (few_s / FEW), LINEAR),
        ]
    return max(codes)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print(*play(sys.argv[1], int(sys.argv[2])))
    else:
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else MANY))
