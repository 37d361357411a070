"""Whose server it is: strangers on the port, stale records, reused process ids; who may reach it."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from gptoss_flow.errors import FlowError, StepError
from gptoss_flow.llama.client import Client
from gptoss_flow.server.probe import free_port
from gptoss_flow.server.record import list_servers, start_ticks
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.faults.managed import PatientClock, refusal, stand_in, state_folder
from tests.faults.stage import SHORT, Figure, Scene, Stage, Tally, left_of
from tests.running import server_records

STRANGER = "an answer of the stranger"


@contextmanager
def friendly_stranger(port: int = 0) -> Iterator[tuple[int, list[str]]]:
    """A web server that says 200 to everything; its port, and the paths that it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b'{"status": "ok"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], asked
        server.shutdown()
        thread.join()


def foreign_health(stage: Stage) -> Figure:
    """A stranger's web server, whose /health says 200, on our port or behind our record: never adopted."""

    async def once(folder: Path, how: int) -> str:
        async with state_folder(folder) as root:
            with friendly_stranger() as (port, asked):
                if how == 0:
                    said = await refusal(stand_in(folder, listen={"port": port}))
                    fault = (
                        ""
                        if f"port {port} is in use" in said and str(os.getpid()) in said
                        else f"it said {said!r}"
                    )
                else:  # a forged record sends us there, with the stranger's own process and its true start
                    first = stand_in(folder, idle_timeout=-1)
                    pid = (await first.ensure_ready()).pid
                    (record,) = list_servers(root)
                    await first.stop()
                    changes = {"port": port, "pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}
                    forge(Path(record.folder), dataclasses.asdict(record) | changes)
                    second = stand_in(folder)
                    endpoint = await second.ensure_ready()
                    fault = "it was adopted" if endpoint.adopted or endpoint.url.endswith(f":{port}") else ""
                    fault = fault or ("" if endpoint.pid != pid else "it is the old one")
                    await second.release()
                return fault or ("it was asked to complete" if "/completion" in asked else "")

    tally = Tally()
    for number in stage.times(50):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            tally.add(asyncio.run(once(Path(name), number % 2)))
    return tally.figure()


def forge(folder: Path, record: dict[str, Any]) -> None:
    (folder / "record.json").write_text(json.dumps(record))


def foreign_model(stage: Stage) -> Figure:
    """Another llama-server, with another model, on our port: exit code 3, and its model is named."""
    tally = Tally()
    for _ in stage.times(10):
        port = free_port("127.0.0.1")
        with stage.project(SHORT.replace("parallel: 1", f"parallel: 1, listen: {{port: {port}}}")) as project:
            script = project.write("script.json", json.dumps({"model_path": "/models/other.gguf"}))
            command = [sys.executable, "-m", "gptoss_flow.testing.fake_server", "--port", str(port)]
            with subprocess.Popen([*command, "--replies", str(script)], stdout=subprocess.PIPE) as other:
                assert other.stdout
                other.stdout.readline()
                done = project.run("run", "flow.yaml")
                fault = "" if done.code == 3 else f"exit {done.code}"
                if "/models/other.gguf" not in done.err or f"process {other.pid}" not in done.err:
                    fault = fault or f"it said {done.err[-300:]!r}"
                fault = fault or ("it was killed" if other.poll() is not None else "")
                other.kill()
            tally.add(fault or left_of(project))
    return tally.figure()


def shared_port(stage: Stage) -> Figure:
    """A stranger listens on the same port as well (SO_REUSEPORT), before or after our server does."""

    async def once(folder: Path, before: bool) -> str:
        port = await asyncio.to_thread(free_port, "127.0.0.1")
        stranger = FakeServer(Script(replies=[Reply(text=STRANGER)], reuse_port=True), port=port)
        async with state_folder(folder):
            server = stand_in(folder, {"reuse_port": True, "replies": [{"text": "ours"}]}, listen={"port": port})
            if before:
                await stranger.start()
            try:
                endpoint = await server.ensure_ready()
                if not before:
                    await stranger.start()
                client = Client(endpoint, clock=PatientClock())
                texts = [await answer(client) for _ in range(12) if await server.ensure_ready()]
                await client.aclose()
            except FlowError:
                texts = []
            finally:
                await server.release()
                await stranger.close()
        wrong = sum(STRANGER.startswith(text) and bool(text) for text in texts)
        return f"{wrong} answers of the stranger's" if wrong else ""

    tally = Tally()
    for number in stage.times(20):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            fault = asyncio.run(once(Path(name), number % 2 == 0))
            tally.add(f"{'before' if number % 2 == 0 else 'after'}: {fault}" if fault else "")
    return tally.figure()


async def answer(client: Client) -> str:
    """A short completion's text, over a connection of its own; '' where that failed."""
    try:
        return "".join([chunk.text async for chunk in client.complete([1, 2], {"max_tokens": 4})])
    except StepError:
        return ""


def stale_record(stage: Stage) -> Figure:
    """Server and guardian were killed with -9: their record does not stand in the way of the next start."""
    tally = Tally()
    for _ in stage.times(10):
        with stage.project(SHORT) as project:
            project.write("profiles/main.yaml", "version: 1\nextends: demo\nthreads: 1\n")
            project.run("server", "start", "main")
            (record,) = server_records(project)
            data = json.loads(record.read_text())
            for pid in (data["guardian_pid"], data["pid"]):
                kill(pid)
            psutil.wait_procs([each for each in (process_of(data["pid"]),) if each], timeout=5)
            fault = "" if record.exists() else "there is no stale record"
            done = project.run("run", "flow.yaml", "--server", "main=main")
            fault = fault or ("" if done.code == 0 else f"exit {done.code}: {done.err[-300:]!r}")
            tally.add(fault or left_of(project))
    return tally.figure()


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def process_of(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def pid_reused(stage: Stage) -> Figure:
    """A record's pid is another program's now, half the time with the recorded start time: it is never signalled.

    Played in a pid namespace of its own, where the next pid can be chosen.
    """
    if os.geteuid() != 0 or sys.platform != "linux":
        return Figure("not played: needs root and /proc/sys/kernel/ns_last_pid", True)
    rounds = str(len(stage.times(200)))
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-m", "tests.faults.pid_reuse", rounds],
        capture_output=True,
        text=True,
    )
    said = (done.stdout.splitlines() or [done.stderr[-300:]])[-1]
    return Figure(said, done.returncode == 0)


def out_of_reach(stage: Stage) -> Figure:
    """The server listens on the loopback alone, wants its key, and gives no other page's script an answer."""
    tally = Tally()
    for _ in stage.times(2):
        with stage.project(SHORT) as project:
            project.write("profiles/main.yaml", "version: 1\nextends: demo\nthreads: 1\n")
            project.run("server", "start", "main")
            (record,) = server_records(project)
            data, key = json.loads(record.read_text()), record.with_name("key").read_text()
            listening = {
                each.laddr.ip
                for each in psutil.Process(data["pid"]).net_connections("tcp")
                if each.status == psutil.CONN_LISTEN
            }
            tally.add("" if listening == {"127.0.0.1"} else f"it listens at {listening}")
            for origin in ("https://evil.example", "null"):
                for given, wanted in (("", 401), ("wrong", 401), (key, 200)):
                    status, allowed = fetch(data["port"], origin, given)
                    tally.add("" if status == wanted else f"status {status} with the key {given[:5]!r}")
                    tally.add(
                        "" if allowed not in ("*", origin) else f"a page of {origin} may read it ({allowed})"
                    )
            tally.add("" if fetch(data["port"], "", key, "/")[0] != 200 else "it has a user interface")
            tally.add("" if project.run("server", "stop", "main").code == 0 else "it cannot be stopped")
    return tally.figure()


def fetch(port: int, origin: str, key: str, path: str = "/props") -> tuple[int, str | None]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Origin": origin} if origin else {}
    connection.request("GET", path, headers=headers | ({"Authorization": f"Bearer {key}"} if key else {}))
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.status, response.getheader("Access-Control-Allow-Origin")


def secrets_kept(stage: Stage) -> Figure:
    """What is secret in our environment is in none of the server's or the guardian's; modes under umask 000."""
    tally = Tally()
    secrets = {"OPENAI_API_KEY": "canary-1", "AWS_SECRET_ACCESS_KEY": "canary-2", "MY_TOKEN": "canary-3"}
    before = os.umask(0)
    try:
        with stage.project(SHORT, **secrets) as project:
            project.write("profiles/main.yaml", "version: 1\nextends: demo\nthreads: 1\n")
            project.run("server", "start", "main")
            (record,) = server_records(project)
            data, key = json.loads(record.read_text()), record.with_name("key").read_text()
            for role in ("pid", "guardian_pid"):
                environ = Path(f"/proc/{data[role]}/environ").read_bytes()
                tally.add(f"{role} knows a secret" if b"canary" in environ else "")
                command = Path(f"/proc/{data[role]}/cmdline").read_bytes()
                tally.add(f"the key is in the command line of {role}" if key.encode() in command else "")
            state = project.home / ".state/gptoss-flow"
            modes = {path: path.lstat().st_mode for path in (state, *state.rglob("*"))}
            wide = [path for path, mode in modes.items() if mode & 0o077 and not stat.S_ISLNK(mode)]
            tally.add(f"others may use {wide}" if wide else "")
            project.run("server", "stop", "main")
    finally:
        os.umask(before)
    return tally.figure()


SCENES: dict[str, Scene] = {
    "foreign-health": foreign_health,
    "foreign-model": foreign_model,
    "shared-port": shared_port,
    "stale-record": stale_record,
    "pid-reused": pid_reused,
    "out-of-reach": out_of_reach,
    "secrets-kept": secrets_kept,
}
