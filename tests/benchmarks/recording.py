"""What the record costs of a run of the demo model: `python -m tests.benchmarks.recording [N]`.

The time that the loop spends in the record's two files, waiting for storage included, over that of the whole run.
Two runs of a model differ by more than any record takes: one with it and one without it cannot be compared.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from gptoss_flow.app import recording
from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow
from gptoss_flow.plan.plan import Plan
from tests.benchmarks.measure import demo_project, timed, verdict, warm_server

BOUND_PERCENT = 2.0
SLOTS, PROMPTS, TOKENS = 4, 16, 32


def text(number: int | str) -> str:
    return f"{number}. A short story about the sea, told by an old sailor in a harbour town. "


def flow(server: dict[str, str]) -> str:
    """Prompts that fill the slots of a server."""
    return (
        f"version: 1\nservers: {{main: {{url: '{server['url']}', api_key: env:BENCH_KEY, parallel: {SLOTS}}}}}\n"
        f"steps:\n  each:\n    foreach: [{', '.join(map(str, range(PROMPTS)))}]\n    prompt:\n      mode: raw\n"
        f"      text: '{text('${{ item }}')}'\n"
        f"      params: {{max_tokens: {TOKENS}, temperature: 0, ignore_eos: true}}\n"
    )


class Timed:
    """A file of the record that notes how long its work takes."""

    spent_s = 0.0

    def __init__(self, make: Callable[..., Any], *args: object) -> None:
        self._file = make(*args)

    def __getattr__(self, name: str) -> Callable[..., None]:
        work = getattr(self._file, name)

        def done(*args: object) -> None:
            began = time.perf_counter()
            work(*args)
            Timed.spent_s += time.perf_counter() - began

        return done


@contextmanager
def timed_files() -> Iterator[None]:
    """Runs within add to `Timed.spent_s`."""
    with (
        mock.patch.object(recording, "JournalFile", partial(Timed, recording.JournalFile)),
        mock.patch.object(recording, "Rlog", partial(Timed, recording.Rlog)),
    ):
        yield


def play(plan: Plan, folder: Path) -> None:
    finished = asyncio.run(run_flow(plan, Given(inputs={}, servers={}, cwd=folder)))
    assert finished.result.status == "succeeded", finished.result


def main(rounds: int) -> int:
    with (
        demo_project() as project,
        warm_server(project) as server,
        mock.patch.dict(os.environ, {**project.environ, "BENCH_KEY": server["key"]}),
        timed_files(),
    ):
        plan = check_flow(project.write("flow.yaml", flow(server)))
        play(plan, project.folder)
        Timed.spent_s = 0.0
        took_s = sum(timed(lambda: play(plan, project.folder)).wall_s for _ in range(rounds))
    spent_s = Timed.spent_s
    print(f"{rounds} runs of {PROMPTS} prompts of {TOKENS} tokens: {took_s:.2f} s, in the record {spent_s:.3f} s")
    return verdict("recording", spent_s / took_s * 100, BOUND_PERCENT, " % of the run")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 5))
