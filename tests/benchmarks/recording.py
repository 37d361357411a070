"""A run of prompts with its record on storage and without one: `python -m tests.benchmarks.recording [N]`.

The model is scripted and paced as a fast one (200 tokens a second for each of 4 items): what differs is ours.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from unittest import mock

from gptoss_flow.app import recording
from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.events import Stamped
from gptoss_flow.plan.plan import Plan
from tests.benchmarks.measure import Took, interleaved, timed, verdict

BOUND_PERCENT = 2.0
FLOW = """\
version: 1
steps:
  each:
    foreach: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    max_parallel: 4
    prompt: {mode: raw, text: 'A story of ${{ item }}', params: {max_tokens: 60}}
"""


class Nothing:
    """A sink that keeps nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def take(self, stamped: Stamped) -> None:
        pass

    def close(self) -> None:
        pass


def play(plan: Plan, folder: Path, *, recorded: bool) -> Took:
    def once() -> None:
        given = Given(inputs={}, servers={}, cwd=folder)
        finished = asyncio.run(run_flow(plan, given, model=f"scripted:{folder}/replies.yaml"))
        assert finished.result.status == "succeeded", finished.result

    if recorded:
        return timed(once)
    with mock.patch.object(recording, "JournalFile", Nothing), mock.patch.object(recording, "Rlog", Nothing):
        return timed(once)


def main(rounds: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "flow.yaml").write_text(FLOW)
        (folder / "replies.yaml").write_text(f"replies:\n  - {{text: '{'word ' * 60}', token_delay: 5ms}}\n")
        plan = check_flow(folder / "flow.yaml")
        play(plan, folder, recorded=True)
        without, recorded = interleaved(
            rounds, lambda: play(plan, folder, recorded=False), lambda: play(plan, folder, recorded=True)
        )
    for name, took in (("without", without), ("recorded", recorded)):
        print(f"{name:10}{took.wall_s:8.3f} s, CPU {took.cpu_s:.3f} s")
    more = (recorded.wall_s / without.wall_s - 1) * 100
    return verdict("recording", more, BOUND_PERCENT, " % of the wall")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 9))
