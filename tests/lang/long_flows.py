"""A long flow and those inside it, checked in this process: `python -m tests.lang.long_flows STEPS`.

Prints a JSON object: the steps, seconds of the processor, peak memory in MB beyond what an empty flow takes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.plan.nested import count_steps
from tests.peak import peak_mb

EACH = 5000
"""Steps of an inner flow, and the one that runs it. A file may hold half a million values: these are several."""


def inner(number: int) -> str:
    """Chains of ten steps."""
    lines = [f"version: 1\nname: inner-{number}\nsteps:\n"]
    for i in range(EACH - 1):
        before = f"[s{i - 1}]" if i % 10 else "[]"
        lines.append(f"  s{i}: {{needs: {before}, set: {{x: 1}}}}\n")
    return "".join(lines)


def main(steps: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, files = Path(folder, "flow.yaml"), steps // EACH
        path.write_text("version: 1\nsteps: {a: {set: {x: 1}}}\n")
        check_flow(path)  # what is loaded on first use is not what is measured
        for number in range(files):
            Path(folder, f"inner{number}.yaml").write_text(inner(number))
        outer = "".join(f"  f{number}: {{flow: inner{number}.yaml}}\n" for number in range(files))
        path.write_text(f"version: 1\nsteps:\n{outer}")
        before = peak_mb()
        began = time.process_time()
        plan = check_flow(path)
        took = time.process_time() - began
        grown = peak_mb() - before
    print(json.dumps({"steps": count_steps(plan), "s": round(took, 2), "mb": round(grown)}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
