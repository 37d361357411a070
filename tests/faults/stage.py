"""Where scenes are played, and what they come to."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from gptoss_flow.testing.project import Project
from tests.processes import gone_after, processes_of
from tests.running import server_records

GONE_S = 5.0
"""What no server may outlive its last user by."""
ASK = "version: 1\nsteps:\n  a: {prompt: {user: hi}}\n"
SCRIPTED = ("run", "flow.yaml", "--quiet", "--model", "scripted:replies.yaml")
SHORT_PROFILE = "{extends: demo, threads: 1, context: 256, parallel: 1}"
SHORT = f"""\
version: 1
servers: {{main: {SHORT_PROFILE}}}
steps:
  a: {{prompt: {{mode: raw, text: Once, params: {{max_tokens: 4}}}}}}
"""
"""A flow of one short prompt, with the real server."""
RUN = ("run", "flow.yaml", "--events")


@dataclass(frozen=True)
class Figure:
    """What a scene came to, and whether that is what was wanted."""

    said: str
    met: bool


@dataclass
class Tally:
    """How often a scene was played, what went wrong, how long that took which is to be quick."""

    played: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    def add(self, fault: str, took_s: float | None = None) -> None:
        """One more time; `fault` is empty where all went well."""
        self.played += 1
        if fault:
            self.faults[fault] += 1
        if took_s is not None:
            self.seconds.append(took_s)

    def figure(self, longest_s: float = math.inf) -> Figure:
        """`10/10, half within 0.20 s, slowest 0.31 s`, and what went wrong how often."""
        slowest = max(self.seconds, default=0.0)
        said = f"{self.played - self.faults.total()}/{self.played}"
        if self.seconds:
            said += f", half within {median(self.seconds):.2f} s, slowest {slowest:.2f} s"
        said += f" (at most {longest_s:g} s)" if longest_s < math.inf else ""
        said += "".join(f"; {fault} ({count})" for fault, count in self.faults.items())
        return Figure(said, not self.faults and slowest <= longest_s)


@dataclass(frozen=True)
class Stage:
    """Where scenes are played. `cache` has the demo model."""

    cache: Path
    rounds: int | None

    def times(self, usual: int) -> range:
        return range(self.rounds or usual)

    @contextmanager
    def project(self, flow: str = SHORT, **environ: str) -> Iterator[Project]:
        """A project of its own with this flow and a scripted model; what it leaves running is ended."""
        with tempfile.TemporaryDirectory(prefix="scene-") as folder:
            project = Project(Path(folder), {"XDG_CACHE_HOME": str(self.cache), **environ})
            project.write("flow.yaml", flow)
            project.write("replies.yaml", f"default: {'word ' * 100}\n")
            try:
                yield project
            finally:
                for left in processes_of(Path(folder)):
                    left.kill()


Scene = Callable[[Stage], Figure]


def left_of(project: Project) -> str:
    """What is left of a project's servers when nothing should be; else ''."""
    return processes_left(project) or ("a server's record is left" if server_records(project) else "")


def processes_left(project: Project) -> str:
    try:
        gone_after(project.home.parent, GONE_S)
    except AssertionError as error:
        return str(error)
    return ""
