"""No sandbox at all: tool code runs as the user, with limits on each process and an end of its time, no more."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from gptoss_flow.errors import Problem
from gptoss_flow.tools.sandbox.job import INSIDE, Job, Launch

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER", "LOGNAME")


class NoSandbox:
    """Satisfies `job.Kind`; `choose` alone decides whether it may be used."""

    name = "dangerously_none"

    def problem(self) -> Problem | None:
        return None

    def program(self, name: str) -> list[str]:
        return [sys.executable, "-I", str(INSIDE / name)]

    def launch(self, job: Job) -> Launch:
        own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        return Launch(
            argv=[sys.executable, "-I", "-S", str(INSIDE / "warden.py")],
            folder=os.path.realpath(Path(job.workspace)),
            base_env=own,
            own_processes=False,
            counts_processes=False,
        )
