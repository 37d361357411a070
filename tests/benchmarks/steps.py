"""What a step that does nothing costs: `python -m tests.benchmarks.steps [STEPS…]`.

A chain of `set` steps is run with the whole record on (events.jsonl and run.rlog; fsync apart), interleaved with a
bare asyncio loop that makes a task for each step and appends one JSON line to a file. Medians of processor time.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.events import RunStarted
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import ToolContext
from gptoss_flow.record import append
from gptoss_flow.record.folder import RunFolder, new_run_id
from gptoss_flow.record.journal_file import JournalFile
from gptoss_flow.record.rlog import Rlog
from gptoss_flow.record.state import RunState
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.ends import RunResult
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.testing.scripted_model import Script, ScriptedModels
from gptoss_flow.tools import TOOLS
from tests.benchmarks.measure import Took, interleaved, timed, verdict

ROUNDS = 5
BOUND_MS = 0.1
FLAT = 1.3
"""How much dearer a step of a long flow may be than one of a short flow."""


class _Fold:
    def __init__(self) -> None:
        self.take = RunState().apply

    def close(self) -> None:
        pass


def chain(steps: int, folder: Path) -> Plan:
    lines = ["version: 1", "steps:", "  s0: {set: {x: 1}}"]
    lines += [f"  s{i}: {{needs: [s{i - 1}], set: {{x: 1}}}}" for i in range(1, steps)]
    path = folder / f"chain-{steps}.yaml"
    path.write_text("\n".join(lines))
    return check_flow(path)


def run_plan(plan: Plan, folder: Path) -> Took:
    """What it takes to run the plan with its record."""
    clock = SystemClock()
    record = RunFolder.create(folder, new_run_id(clock.now()))
    journal = Journal([JournalFile(record.events_path), Rlog(record.rlog_path), _Fold()], clock)
    models = ScriptedModels(Script(default="x"), clock)
    executor = Executor(
        plan,
        scope={},
        models=models,
        tools=TOOLS,
        tool_context=ToolContext(workspace=folder),
        emit=journal.emit,
        clock=clock,
        cores=2,
    )
    journal.emit(_started(plan, record.run_id, folder))
    results: list[RunResult] = []
    took = timed(lambda: results.append(asyncio.run(executor.run(models.close))))
    assert results[0].status == "succeeded"
    journal.close()
    record.close()
    return took


def _started(plan: Plan, run_id: str, folder: Path) -> RunStarted:
    return RunStarted(
        run_id=run_id, flow=plan.name, flow_path="", description="", started_at="", version="", inputs={},
        steps={node.id: node.step.kind for node in plan.nodes.values()}, servers={}, cwd=str(folder),
        workspace=str(folder), repo_sha="0000000", branch="", dirty=False,
    )  # fmt: skip


def run_bare(steps: int, folder: Path) -> Took:
    """What it takes for the same number of tasks and JSON lines with nothing else."""

    async def nothing(i: int) -> int:
        return i

    async def loop(descriptor: int) -> None:
        for i in range(steps):
            result = await asyncio.create_task(nothing(i))
            os.write(descriptor, json.dumps({"step": f"s{i}", "output": {"x": result}}).encode() + b"\n")

    descriptor = os.open(folder / "bare.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    took = timed(lambda: asyncio.run(loop(descriptor)))
    os.close(descriptor)
    return took


def main(counts: list[int]) -> int:
    synced = append._datasync
    append._datasync = lambda _: None  # "fsync apart": what a boundary costs is the disk's
    costs = []
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            print(f"{'steps':>8}{'ms a step':>12}{'bare ms':>10}{'ratio':>8}")
            for count in counts:
                plan = chain(count, folder)
                ours, bare = interleaved(ROUNDS, partial(run_plan, plan, folder), partial(run_bare, count, folder))
                costs.append(ours.cpu_s / count * 1000)
                bare_ms = bare.cpu_s / count * 1000
                print(f"{count:>8}{costs[-1]:>12.3f}{bare_ms:>10.3f}{costs[-1] / bare_ms:>8.1f}")
    finally:
        append._datasync = synced
    return max(
        verdict("a step, journal and rlog on, fsync apart", costs[-1], BOUND_MS, " ms"),
        verdict("a step of the longest flow against one of the shortest", costs[-1] / costs[0], FLAT),
    )


if __name__ == "__main__":
    sys.exit(main([int(argument) for argument in sys.argv[1:]] or [100, 10_000]))
