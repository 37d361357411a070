"""Start and stop: many at once, taken ports, signals while loading, open streams, slow and stuck loads."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from unittest import mock

from gptoss_flow.errors import StepError, Unavailable
from gptoss_flow.llama.client import Client
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.server import settings, starter
from gptoss_flow.server.probe import free_port
from gptoss_flow.server.record import ServerRecord, list_servers
from tests.faults.managed import PatientClock, real, refusal, stand_in, state_folder
from tests.faults.stage import GONE_S, RUN, SHORT, Figure, Scene, Stage, Tally, left_of
from tests.processes import gone_after
from tests.running import PHASES, long_flow, server_records
from tests.terminal import Terminal

LONGEST_STOP_S = 8.0
CLEAN_STOP_S = 3.0
GONE_WHILE_LOADING_S = 1.0
PORT_TRIES = 5
NEVER_S = 1e9


def twelve_at_once(stage: Stage) -> Figure:
    """Twelve commands start one server that stays a while: one of them starts it, and all use it."""
    flow = SHORT.replace("parallel: 1", "parallel: 4, idle_timeout: 30s")
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


def port_busy(stage: Stage) -> Figure:
    """Another profile on the same fixed port: the second is refused, and its owner's process is named."""
    tally, text = Tally(), "version: 1\nname: {}\nextends: demo\nthreads: 1\nlisten: {{port: {}}}\nseed: {}\n"
    for _ in stage.times(5):
        with stage.project(
            SHORT.replace("{extends: demo, threads: 1, context: 256, parallel: 1}", "two")
        ) as project:
            port = free_port("127.0.0.1")
            project.write("profiles/one.yaml", text.format("one", port, 1))
            project.write("profiles/two.yaml", text.format("two", port, 2))
            owner = project.run("server", "start", "one", "--json").json["pid"]
            done = project.run("run", "flow.yaml")
            fault = "" if done.code == 3 else f"exit {done.code}"
            if f"port {port} is in use" not in done.err or f"process {owner}" not in done.err:
                fault = fault or f"it said {done.err[-300:]!r}"
            (still,) = project.run("server", "ps", "--json").json
            fault = fault or ("" if still["pid"] == owner else "the owner is gone")
            tally.add(fault or ("" if project.run("server", "stop").code == 0 else "it cannot be stopped"))
    return tally.figure()


def port_stolen(stage: Stage) -> Figure:
    """Somebody takes the port between its choice and its use, one to four times in a row: another is taken."""

    async def once(thefts: int) -> str:
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            thieves: list[socket.socket] = []

            def chosen(host: str, wanted: int = 0) -> int:
                port = free_port(host, wanted)
                if len(thieves) < thefts:
                    thieves.append(thief := socket.socket())
                    thief.bind((host, port))
                    thief.listen()
                return port

            async with state_folder(Path(name)):
                with mock.patch.object(settings, "free_port", chosen):
                    server = stand_in(Path(name))
                    try:
                        await server.ensure_ready()
                    except Unavailable as error:
                        return str(error)
                    finally:
                        await server.release()
                        for thief in thieves:
                            thief.close()
            crashes = server.states.count("crashed")
            return "" if crashes == thefts < PORT_TRIES and not server.clock.waits else f"{crashes} crashes"

    tally = Tally()
    for number in stage.times(100):
        began = time.monotonic()
        tally.add(asyncio.run(once(1 + number % 4 if number % 3 == 0 else 1)), time.monotonic() - began)
    return tally.figure()


def terminate_loading(stage: Stage) -> Figure:
    """SIGTERM at one of twenty moments after the start began: exit code 143, all gone within a second."""
    tally = Tally()
    rounds = stage.times(20)
    for number in rounds:
        with stage.project(SHORT) as project:
            command = project.start(*RUN)
            assert command.stdout
            while b'"state":"starting"' not in (line := command.stdout.readline()):
                assert line, "it ended before its server started"
            threading.Event().wait(0.6 * number / len(rounds))
            was_over = command.poll() is not None
            began = time.monotonic()
            command.terminate()
            command.communicate()
            fault = (
                "" if command.returncode in (143, -signal.SIGTERM) or was_over else f"exit {command.returncode}"
            )
            tally.add(fault or left_of(project), time.monotonic() - began)
    return tally.figure(GONE_WHILE_LOADING_S)


def stop_while_streaming(stage: Stage) -> Figure:
    """A server with two streams of ours is stopped: they are called off first, and SIGTERM is enough."""

    async def once(folder: Path) -> tuple[str, float]:
        async with state_folder(folder) as root:
            server = real(stage, root)
            client = Client(await server.ensure_ready(), clock=PatientClock())
            streams = [client.complete([1, 2, 3], {"max_tokens": 400, "ignore_eos": True}) for _ in range(2)]
            for stream in streams:
                await anext(stream)
            (record,) = list_servers(root)
            began = time.monotonic()
            await client.cancel_all()
            await server.release()
            took_s = time.monotonic() - began
            for stream in streams:
                await stream.aclose()
            await client.aclose()
            return ("" if server.state == "stopped" and not list_servers(root) else record.name), took_s

    tally = Tally()
    for _ in stage.times(20):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            tally.add(*asyncio.run(once(Path(name))))
    return tally.figure(CLEAN_STOP_S)  # the second SIGTERM would come after 5 s, SIGKILL after 7


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


def slow_load(stage: Stage) -> Figure:
    """A server that answers 503 for some seconds: it is waited for."""

    async def once(load_s: float) -> str:
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            async with state_folder(Path(name)):
                return await refusal(stand_in(Path(name), {"load_s": load_s}))

    tally = Tally()
    for number in stage.times(4):
        tally.add(asyncio.run(once(1.0 + 2 * number)))
    return tally.figure()


def stuck_load(stage: Stage) -> Figure:
    """A server that answers 503 for ever: refused at the deadline and stopped; how long after the deadline."""

    async def once(deadline_s: float) -> tuple[str, float]:
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            async with state_folder(Path(name)) as root:
                began = time.monotonic()
                said = await refusal(stand_in(Path(name), {"load_s": NEVER_S}, start_timeout=deadline_s))
                over_s = time.monotonic() - began - deadline_s
                fault = "" if "not ready after" in said else f"it said {said!r}"
                return fault or ("it is left" if list_servers(root) else ""), over_s

    tally = Tally()
    for number in stage.times(8):
        tally.add(*asyncio.run(once(0.5 + 0.5 * number)))
    return tally.figure(2.0)


def clock_jumps(stage: Stage) -> Figure:
    """The wall clock jumps an hour, forth or back, while a model answers: nothing times out."""
    library = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)
    if library is None:
        return Figure("not played: libfaketime is not installed", True)
    tally = Tally()
    for number in stage.times(4):
        with stage.project(long_flow(200, "    timeout: 5m\n")) as project:
            jump = project.write("jump", "+0")
            project.environ |= {
                "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(jump), "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            }  # fmt: skip
            with Terminal(project, *RUN, term="dumb") as terminal:
                terminal.until(PHASES["generating"])
                jump.write_text(f"{'+-'[number % 2]}3600")
                code = terminal.end(120)
            times = [stamped.time for stamped in read_journal(project.runs[-1] / "events.jsonl")]
            fault = f"exit {code}: {terminal.seen[-300:]!r}" if code else left_of(project)
            tally.add(fault or ("" if abs(times[-1] - times[0]) > 3000 else "the clock did not jump"))
    return tally.figure()


def suspended_command(stage: Stage) -> Figure:
    """The command is suspended for seconds while a model answers, as with a closed laptop: it goes on."""
    tally = Tally()
    for _ in stage.times(2):
        with stage.project(long_flow(300)) as project, Terminal(project, *RUN, term="dumb") as terminal:
            terminal.until(PHASES["generating"])
            terminal.process.send_signal(signal.SIGSTOP)
            threading.Event().wait(8)
            terminal.process.send_signal(signal.SIGCONT)
            code = terminal.end()
            tally.add(f"exit {code}: {terminal.seen[-300:]!r}" if code else left_of(project))
    return tally.figure()


def live_socket(stage: Stage) -> Figure:
    """The record of a server that runs is lost: its socket is not taken from it, a stale socket file is."""

    def once(folder: Path, is_live: bool) -> str:
        record = asyncio.run(leave_running(folder, -1 if is_live else 0))
        path = Path(record.socket)
        if not is_live:
            path.unlink(missing_ok=True)
            with closing(socket.socket(socket.AF_UNIX)) as stale:
                stale.bind(str(path))
            return asyncio.run(refusal(stand_in(folder)))
        before = path.stat().st_ino
        Path(record.folder, "record.json").unlink()
        with mock.patch.object(starter, "STOPPING_S", 0.3):
            said = asyncio.run(refusal(stand_in(folder)))
        is_same = path.exists() and path.stat().st_ino == before
        os.kill(record.guardian_pid, signal.SIGTERM)
        gone_after(folder, GONE_S)
        return "" if is_same and "does not end" in said else f"is it the same: {is_same}; it said {said!r}"

    tally = Tally()
    for number in stage.times(10):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            tally.add(once(Path(name), number % 2 == 0))
    return tally.figure()


async def leave_running(folder: Path, idle_timeout_s: float) -> ServerRecord:
    """Start a stand-in and let it go; what was on record while it ran."""
    server = stand_in(folder, idle_timeout=idle_timeout_s)
    await server.ensure_ready()
    (record,) = list_servers(folder / "state")
    await server.release()
    return record


def attach_as_it_expires(stage: Stage) -> Figure:
    """A user comes at about the moment at which the idle timeout ends: it gets that server or a new one."""

    async def once(folder: Path, offset_s: float) -> str:
        async with state_folder(folder):
            first, second = (stand_in(folder, idle_timeout=0.3) for _ in range(2))
            await first.ensure_ready()
            await first.release()
            await asyncio.sleep(max(0.0, 0.3 + offset_s))
            return await refusal(second)

    tally, dice = Tally(), random.Random(34)
    for _ in stage.times(50):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            tally.add(asyncio.run(once(Path(name), dice.uniform(-0.15, 0.05))))
    return tally.figure()


def idle_in_a_request(stage: Stage) -> Figure:
    """A request takes five times as long as the idle timeout: its user's lease holds the server."""

    async def once(folder: Path) -> str:
        script = {"replies": [{"text": "x" * 50, "token_delay_s": 0.03}]}
        async with state_folder(folder):
            server = stand_in(folder, script, idle_timeout=0.3)
            client = Client(await server.ensure_ready(), clock=PatientClock())
            try:
                chunks = [chunk async for chunk in client.complete([1, 2], {"max_tokens": 50})]
            except StepError as error:
                return error.message
            finally:
                await client.aclose()
                await server.release()
            return "" if "".join(chunk.text for chunk in chunks) == "x" * 50 else "it was cut"

    tally = Tally()
    for _ in stage.times(3):
        with tempfile.TemporaryDirectory(prefix="scene-") as name:
            tally.add(asyncio.run(once(Path(name))))
    return tally.figure()


def state_folder_unusable(stage: Stage) -> Figure:
    """The state folder is read-only, or on a full disk: exit code 3 with a sentence, and no server."""
    if os.geteuid() != 0:
        return Figure("not played: needs the right to mount", True)
    tally = Tally()
    for options in ("ro", "size=16k"):
        with stage.project(SHORT) as project:
            state = project.home / "mounted"
            state.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", state], check=True)
            try:
                if options != "ro":
                    fill(state / "filler")
                project.environ["XDG_STATE_HOME"] = str(state)
                done = project.run("run", "flow.yaml")
            finally:
                subprocess.run(["umount", "-l", state], check=True)
            fault = "" if done.code == 3 and "Traceback" not in done.err else f"exit {done.code}"
            if str(state) not in done.err:
                fault = fault or "it does not name the folder"
            tally.add(f"{options}: {fault}: {done.err[-300:]!r}" if fault else left_of(project))
    return tally.figure()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass


SCENES: dict[str, Scene] = {
    "twelve-at-once": twelve_at_once,
    "port-busy": port_busy,
    "port-stolen": port_stolen,
    "terminate-loading": terminate_loading,
    "stop-while-streaming": stop_while_streaming,
    "stop-under-a-stranger": stopped_under_a_stranger,
    "slow-load": slow_load,
    "stuck-load": stuck_load,
    "live-socket": live_socket,
    "idle-in-a-request": idle_in_a_request,
    "attach-as-it-expires": attach_as_it_expires,
    "state-folder-unusable": state_folder_unusable,
    "clock-jumps": clock_jumps,
    "suspended-command": suspended_command,
}
