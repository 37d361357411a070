"""Ctrl-C once, twice and three times, with real signals: what was running, what runs last, and the record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.testing.project import Project

INNER = """
version: 1
steps:
  ask: {prompt: {user: inside}}
finally:
  inner_last: {set: {x: 1}}
"""
FLOW = """
version: 1
steps:
  a: {flow: ./inner.yaml}
  b: {needs: [a], set: {x: 1}}
finally:
  last: {prompt: {user: bye}}
  never: {needs: [last], set: {x: 1}}
"""
SLOW = '{text: "word word word", delay: 60s}'


class Watched:
    """A run whose events are read as they happen."""

    def __init__(self, project: Project) -> None:
        self.process = subprocess.Popen(
            project.command("run", "flow.yaml", "--model", "scripted:replies.yaml", "--events", "--quiet"),
            cwd=project.folder,
            env=project.environ,
            stdout=subprocess.PIPE,
        )

    def until(self, **wanted: str) -> None:
        """Read until an event has these values."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if all(event.get(name) == value for name, value in wanted.items()):
                return
        raise AssertionError(f"{wanted} never came")

    def send(self, number: int = signal.SIGINT) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.read()
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.write("inner.yaml", INNER)
    project.write("flow.yaml", FLOW)
    return project


def replies(project: Project, last: str) -> None:
    project.write("replies.yaml", f"replies:\n  - {{step: last, {last}}}\n  - {SLOW}\n")


def ends(project: Project) -> dict[str, Any]:
    events = project.events()
    assert events[-1]["type"] == "run_finished"
    return {event["step"]: event["outcome"] for event in events if event["type"] == "step_finished"}


def test_one_signal_inside_a_flow_lets_what_runs_last_run(project: Project) -> None:
    replies(project, "text: bye")
    run = Watched(project)
    run.until(type="prompt_rendered", step="a.ask")
    run.send()
    assert run.end() == 130
    assert ends(project) == {
        "b": "skipped", "a.ask": "cancelled", "a.inner_last": "succeeded", "a": "cancelled",
        "last": "succeeded", "never": "succeeded",
    }  # fmt: skip


def test_a_second_signal_skips_what_runs_last(project: Project) -> None:
    replies(project, "text: bye, delay: 60s")
    run = Watched(project)
    run.until(type="prompt_rendered", step="a.ask")
    run.send(signal.SIGTERM)
    run.until(type="prompt_rendered", step="last")
    run.send()
    assert run.end() == 143
    found = ends(project)
    assert (found["a"], found["last"], found["never"]) == ("cancelled", "cancelled", "skipped")


def test_a_third_signal_ends_the_process_with_the_record_closed(project: Project) -> None:
    """What is stuck can't be cancelled: here the loop itself, which three signals find asleep."""
    replies(project, "text: bye, delay: 60s")
    run = Watched(project)
    run.until(type="prompt_rendered", step="a.ask")
    run.process.send_signal(signal.SIGSTOP)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        run.send(number)
    run.process.send_signal(signal.SIGCONT)
    assert run.end() in (130, 143)
    assert set(ends(project)) == {"a", "a.ask", "a.inner_last", "b", "last", "never"}


def test_the_last_signal_waits_for_nobody_who_watches(project: Project) -> None:
    """As for a collector of spans that is gone."""
    replies(project, "text: bye, delay: 60s")
    program = """
import os, signal, threading
from pathlib import Path
from gptoss_flow.app.bind import Given
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import run_flow_sync

class Stuck:
    def take(self, stamped):
        if stamped.event.type == "step_started":
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGINT)

    def close(self):
        threading.Event().wait()

given = Given(inputs={}, servers={}, cwd=Path.cwd())
run_flow_sync(check_flow("flow.yaml"), given, views=[Stuck()], model="scripted:replies.yaml")
"""
    command = [sys.executable, "-c", program]
    assert subprocess.run(command, cwd=project.folder, env=project.environ, timeout=30).returncode == 130
    assert "a" in ends(project)
