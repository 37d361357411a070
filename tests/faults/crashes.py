"""The server ends before its time: killed, out of memory, in a loop; models and contexts that cannot work."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.server import starter
from gptoss_flow.testing.project import Done, Project
from tests.faults.managed import demo_model, real, refusal, state_folder, write_stand_in
from tests.faults.stage import RUN, SHORT, Figure, Scene, Stage, Tally, left_of, processes_left
from tests.faults.terminal import running
from tests.running import long_flow, server_records, what_is_open
from tests.server.gguf_files import write_gguf
from tests.terminal import Terminal

HANG_SEEN_S = 20.0
CGROUP_V1 = Path("/sys/fs/cgroup/memory")
OOM = "out of memory"


def killed_beneath(victim: str, usual: int = 10) -> Scene:
    """kill -9 of the server or its guardian while it generates: the step has failed of that, nothing runs on.

    A guardian that is killed leaves its record, which nobody takes for true.
    """

    def scene(stage: Stage) -> Figure:
        tally = Tally()
        for _ in stage.times(usual):
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


def killed_and_retried(stage: Stage) -> Figure:
    """kill -9 of the server where the step may run again: a new server answers it, and the run succeeds."""
    tally = Tally()
    flow = long_flow(300, "    retry: {attempts: 3, backoff: 10ms, on: [server]}\n")
    for _ in stage.times(5):
        with stage.project(flow) as project, Terminal(project, *RUN, term="dumb") as terminal:
            terminal.until(b'"type":"generation_finished"')
            (record,) = server_records(project)
            os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
            code = terminal.end()
            tally.add(f"exit {code}: {terminal.seen[-300:]!r}" if code else left_of(project))
    return tally.figure()


def suspended_server(stage: Stage) -> Figure:
    """SIGSTOP for the server while it generates: noticed, killed, and the step has failed of that."""
    tally = Tally()
    for _ in stage.times(3):
        with running(stage, "generating") as (project, terminal):
            (record,) = server_records(project)
            os.kill(json.loads(record.read_text())["pid"], signal.SIGSTOP)
            began = time.monotonic()
            code = terminal.end(120)
            took_s = time.monotonic() - began
            error = json.loads(terminal.seen.splitlines()[-1])["steps"]["each"]["error"] or {}
            fault = "" if (code, error.get("kind")) == (1, "server") else f"exit {code}, {error}"
            tally.add(fault or left_of(project), took_s)
    return tally.figure(HANG_SEEN_S)


@contextmanager
def stand_in_project(
    stage: Stage, script: dict[str, Any], prompt: str = "    prompt: {mode: raw, text: Once}\n", before: str = ""
) -> Iterator[Project]:
    """A project whose server is a stand-in for llama-server that behaves as the script says."""
    flow = "version: 1\nservers: {main: small}\nsteps:\n  a:\n" + prompt
    with stage.project(flow) as project:
        write_gguf(project.folder / "small.gguf", "llama")
        write_stand_in(project.folder / "llama-server", script, before)
        project.write(
            "profiles/small.yaml",
            "version: 1\nengine: llama-server\nbinary: ../llama-server\nmodel: {path: ../small.gguf}\n"
            "parallel: 2\ncontext: 512\nthreads: 1\n",
        )
        yield project


def starts(project: Project) -> int:
    """How often a server was started in the newest run, by the marks in its log."""
    logs = project.runs[-1].glob("server-*.log") if project.runs else []
    return sum(log.read_text("utf-8", "replace").count("[server ") for log in logs)


def crash_loop(script: dict[str, Any], before: str, wanted_starts: int, longest_s: float, says: str) -> Scene:
    """A server that never comes up: so many starts and no more, and the cause is said."""

    def scene(stage: Stage) -> Figure:
        tally, counts = Tally(), set[int]()
        for _ in stage.times(3):
            with stand_in_project(stage, script, before=before) as project:
                done = project.run("run", "flow.yaml")
                times = [stamped.time for stamped in read_journal(project.runs[-1] / "events.jsonl")]
                took_s = times[-1] - times[0]  # what the interpreter's own start takes is not the point
                counts.add(count := starts(project))
                fault = "" if done.code == 3 and says in done.err else f"exit {done.code}: {done.err[-300:]!r}"
                fault = fault or ("" if count == wanted_starts else f"{count} starts")
                tally.add(fault or left_of(project), took_s)
        figure = tally.figure(longest_s)
        return Figure(f"starts: {', '.join(map(str, sorted(counts)))}; {figure.said}", figure.met)

    return scene


def bad_models(stage: Stage) -> Figure:
    """A model that is missing, empty, junk, truncated, a folder, of an unknown kind: the right cause at once."""
    whole = demo_model(stage).read_bytes()
    kinds: dict[str, tuple[bytes | None, str]] = {
        "missing": (None, "does not exist"),
        "empty": (b"", "empty"),
        "junk": (b"junk" * 1000, "not a GGUF file"),
        "truncated": (whole[:3_000_000], "cut off"),
        "folder": (None, "folder"),
        "header alone": (whole[:20], "cut off"),
    }
    tally, said = Tally(), []
    for _ in stage.times(1):
        for kind, (content, cause) in kinds.items():
            with stage.project(SHORT.replace("extends: demo", "model: {path: given.gguf}")) as project:
                if kind == "folder":
                    (project.folder / "given.gguf").mkdir()
                if content is not None:
                    project.write("given.gguf", content)
                done = project.run("run", "flow.yaml")
                said.append(f"{kind}: {done.err.strip()[:200]}")
                is_right = done.code == 3 and cause in done.err and starts(project) == 0
                tally.add("" if is_right else f"{kind}: exit {done.code}, {done.err[-300:]!r}", None)
                tally.add(left_of(project))
    return tally.figure()


def context_too_large(stage: Stage) -> Figure:
    """A context that no memory here can hold: refused before anything starts, with the number and the key."""
    tally = Tally()
    flow = SHORT.replace("context: 256", "context: 4000000").replace("parallel: 1", "parallel: 256")
    for _ in stage.times(3):
        with stage.project(flow) as project:
            began = time.monotonic()
            done = project.run("run", "flow.yaml")
            took_s = time.monotonic() - began
            is_right = done.code == 3 and "context" in done.err and "would need" in done.err
            fault = "" if is_right else f"exit {done.code}: {done.err[-300:]!r}"
            tally.add(fault or (f"{starts(project)} starts" if starts(project) else ""), took_s)
    return tally.figure()


def memory_limit(stage: Stage) -> Figure:
    """The real server under a limit on its address space (150, 300, 450 MB): out of memory, tried once."""

    async def once(folder: Path, megabytes: int) -> str:
        compile_command = starter.compile_command

        def limited(*args: Any, **keys: Any) -> Any:
            command = compile_command(*args, **keys)
            command.argv[:0] = ["/usr/bin/prlimit", f"--as={megabytes * 1_000_000}"]
            return command

        async with state_folder(folder) as root:
            with mock.patch.object(starter, "compile_command", limited):
                server = real(stage, root)
                said = await refusal(server)
        if OOM not in said:
            return f"{megabytes} MB: it said {said[-300:]!r}"
        return "" if server.states.count("starting") == 1 else f"{server.states}"

    tally = Tally()
    for _ in stage.times(1):
        for megabytes in (150, 300, 450):
            with tempfile.TemporaryDirectory(prefix="scene-") as name:
                tally.add(asyncio.run(once(Path(name), megabytes)))
    return tally.figure()


def oom_killer(stage: Stage) -> Figure:
    """The kernel kills the server because its control group is out of memory: the cause is named."""
    if os.geteuid() != 0 or not (CGROUP_V1 / "memory.limit_in_bytes").exists():
        return Figure("not played: needs root and the memory controller of cgroup v1", True)
    tally = Tally()
    for _ in stage.times(2):
        group = CGROUP_V1 / f"gptoss-flow-{os.getpid()}"
        group.mkdir()
        try:
            (group / "memory.limit_in_bytes").write_text(str(260_000_000))
            flow = SHORT.replace("context: 256", "context: 8000, mmap: false").replace(
                "parallel: 1", "parallel: 4"
            )
            with stage.project(flow) as project:
                done = within(group, project, "run", "flow.yaml")
                fault = (
                    "" if done.code == 3 and f"({OOM}" in done.err else f"exit {done.code}: {done.err[-400:]!r}"
                )
                tally.add(fault or left_of(project))
        finally:
            threading.Event().wait(0.2)
            group.rmdir()
    return tally.figure()


def within(group: Path, project: Project, *args: str) -> Done:
    enter = f'echo 0 > {group}/cgroup.procs; exec "$@"'
    command = ["/bin/sh", "-c", enter, "sh", *project.command(*args)]
    done = subprocess.run(command, cwd=project.folder, env=project.environ, capture_output=True, text=True)
    return Done(done.returncode, done.stdout, done.stderr)


SCENES: dict[str, Scene] = {
    "kill-server": killed_beneath("pid", 30),
    "kill-guardian": killed_beneath("guardian_pid"),
    "kill-and-retry": killed_and_retried,
    "suspended-server": suspended_server,
    "crash-loop-bad-flag": crash_loop(
        {"fail_load": "error: invalid argument: --frobnicate"}, "", 1, 2.0, "bad flag"
    ),
    "crash-loop-abort": crash_loop({}, "if '--model' in sys.argv: os.abort()", 3, 60.0, "3 times in 120 s"),
    "bad-models": bad_models,
    "context-too-large": context_too_large,
    "memory-limit": memory_limit,
    "oom-killer": oom_killer,
}
