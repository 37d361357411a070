"""The real guardian with small programs for a server."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from gptoss_flow.server.process import Gone, Job, Lease, socket_path
from gptoss_flow.server.registry import private_folder
from tests.server.world import in_loop, is_dead, until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    def make(*argv: str, **changes: object) -> Job:
        nonce = secrets.token_hex(16)
        fields: dict[str, object] = {
            "argv": list(argv or ("/bin/sh", "-c", "sleep 600")),
            "env": {"PATH": os.environ["PATH"]},
            "folder": tmp_path,
            "socket": socket_path(tmp_path, nonce),
            "log": tmp_path / "server.log",
            "log_max_bytes": 1 << 20,
            "log_mark": "[start]",
            "idle_timeout_s": 0.0,
            "record": {"nonce": nonce},
        }
        return Job(**(fields | changes))  # type: ignore[arg-type]

    return make


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@in_loop
async def test_the_server_ends_with_its_last_user(job: Callable[..., Job], tmp_path: Path) -> None:
    lease = await Lease.start(job())
    assert (tmp_path / "record.json").exists()
    assert await lease.release(5)
    assert is_dead(lease.kept.pid)
    assert await asyncio.to_thread(names_in, tmp_path) == {"server.log", "guardian.log"}
    assert (tmp_path / "guardian.log").read_text() == ""


@in_loop
async def test_a_second_user_keeps_the_server_and_takes_the_lead(job: Callable[..., Job]) -> None:
    first = await Lease.start(work := job())
    second = await Lease.attach(work.socket, 0)
    assert second and second.kept.nonce == work.record["nonce"] and not second.lead.done()
    assert not await first.release(5)
    await asyncio.wait_for(second.lead, 5)
    second.tell_ready({"url": "somewhere"})
    assert await second.ready == {"url": "somewhere"}
    third = await Lease.attach(work.socket, 0)
    assert third and await third.ready == {"url": "somewhere"} and third.kept.users == 2
    assert not await third.release(5)
    assert await second.release(5)


@in_loop
async def test_a_ready_server_stays_for_its_idle_timeout(job: Callable[..., Job]) -> None:
    lease = await Lease.start(work := job(idle_timeout_s=0.2))
    lease.tell_ready({})
    await lease.ready
    watcher = await Lease.look(work.socket)
    assert watcher
    assert not await lease.release(5)
    assert await asyncio.wait_for(watcher.gone, 5) == Gone(-signal.SIGTERM, asked=True)
    await watcher.close()


@in_loop
async def test_a_start_that_nobody_waits_for_is_never_kept(job: Callable[..., Job]) -> None:
    lease = await Lease.start(job(idle_timeout_s=-1.0))
    assert await lease.release(5)


@in_loop
async def test_a_longer_idle_timeout_wins_and_a_look_does_not_end_the_idling(job: Callable[..., Job]) -> None:
    lease = await Lease.start(work := job())
    lease.tell_ready({})
    stay = await Lease.attach(work.socket, -1.0)
    assert stay
    await stay.release(5)
    assert not await lease.release(5)
    look = await Lease.look(work.socket)
    assert look and look.kept.users == 0
    assert await look.stop(5)


@in_loop
async def test_a_guardian_that_outlives_its_starters_use_leaves_no_zombie(job: Callable[..., Job]) -> None:
    lease = await Lease.start(work := job(idle_timeout_s=-1.0))
    lease.tell_ready({})
    guardian = lease.kept.guardian_pid
    assert not await lease.release(5) and psutil.Process(guardian).ppid() == os.getpid()
    other = await Lease.look(work.socket)
    assert other and await other.stop(5)
    await asyncio.to_thread(until, lambda: not psutil.pid_exists(guardian))


@in_loop
async def test_the_end_of_the_server_is_told_at_once(job: Callable[..., Job], tmp_path: Path) -> None:
    lease = await Lease.start(job("/bin/sh", "-c", "echo oh no >&2; exit 3"))
    assert await asyncio.wait_for(lease.gone, 5) == Gone(3, asked=False)
    assert (tmp_path / "server.log").read_text() == "[start]\noh no\n"
    await lease.close()


@in_loop
async def test_what_cannot_be_executed_is_said_in_the_log(job: Callable[..., Job], tmp_path: Path) -> None:
    lease = await Lease.start(job("/does/not/exist"))
    assert (await lease.gone).exit == 127
    assert "cannot execute /does/not/exist" in (tmp_path / "server.log").read_text()
    await lease.close()


@in_loop
async def test_a_server_that_ignores_sigterm_is_killed_with_all_its_children(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); " + STUBBORN
    lease = await Lease.start(job(sys.executable, "-c", script, term_again_s=0.05, kill_s=0.05))
    await asyncio.to_thread(until, lambda: (tmp_path / "server.log").read_text().count("up") == 2)
    assert await lease.stop(5)
    assert lease.gone.result() == Gone(-signal.SIGKILL, asked=True)
    with pytest.raises(ProcessLookupError):
        os.killpg(lease.kept.pid, 0)


@in_loop
async def test_a_suspended_server_is_stopped(job: Callable[..., Job]) -> None:
    lease = await Lease.start(job())
    os.kill(lease.kept.pid, signal.SIGSTOP)
    assert await lease.stop(3)


@in_loop
async def test_the_log_has_a_cap_and_a_flood_does_not_block_the_server(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    flood = "import sys\nfor n in range(400): sys.stdout.write(('x' * 99 + '\\n') * 1000)\nprint('end')"
    lease = await Lease.start(job(sys.executable, "-c", flood, log_max_bytes=100_000))
    assert (await asyncio.wait_for(lease.gone, 30)).exit == 0
    text = (tmp_path / "server.log").read_text()
    assert len(text) <= 100_000 + 100 and text.endswith("end\n") and text.startswith("[older lines were dropped]")
    await lease.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@in_loop
async def test_the_guardian_ignores_the_terminal(job: Callable[..., Job], number: signal.Signals) -> None:
    lease = await Lease.start(work := job())
    os.kill(lease.kept.guardian_pid, number)
    look = await Lease.look(work.socket)
    assert look and look.kept.pid == lease.kept.pid
    await look.close()
    assert await lease.release(5)


@in_loop
async def test_sigterm_for_the_guardian_stops_the_server(job: Callable[..., Job]) -> None:
    lease = await Lease.start(job())
    os.kill(lease.kept.guardian_pid, signal.SIGTERM)
    assert (await asyncio.wait_for(lease.gone, 5)).asked
    assert is_dead(lease.kept.pid)
    await lease.close()


@linux
@in_loop
async def test_the_server_dies_with_a_killed_guardian(job: Callable[..., Job]) -> None:
    lease = await Lease.start(job())
    os.kill(lease.kept.guardian_pid, signal.SIGKILL)
    assert await asyncio.wait_for(lease.gone, 5) == Gone(None, asked=False)
    await asyncio.to_thread(until, lambda: is_dead(lease.kept.pid))
    await lease.close()


@in_loop
async def test_nonsense_on_the_socket_ends_only_its_own_connection(job: Callable[..., Job]) -> None:
    lease = await Lease.start(work := job())
    for nonsense in (b"\x00\xff\n", b"[]\n", b"{}\n", b'{"op": "hold"}\n'):
        reader, writer = await asyncio.open_unix_connection(work.socket)
        writer.write(nonsense)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert await lease.release(5)


@in_loop
async def test_a_state_folder_with_a_long_path_gets_a_private_folder_for_its_socket(
    job: Callable[..., Job], tmp_path: Path
) -> None:
    nonce = secrets.token_hex(16)
    path = socket_path(tmp_path / ("x" * 100), nonce)
    assert path.parent == private_folder(nonce) and path.parent.stat().st_mode & 0o777 == 0o700
    lease = await Lease.start(job(socket=path))
    assert await lease.release(5)
    assert not path.parent.exists()


def test_a_user_killed_with_sigkill_takes_its_server_along(job: Callable[..., Job], tmp_path: Path) -> None:
    work = job()
    user = f"""
import asyncio, json
from pathlib import Path
from gptoss_flow.server.process import Job, Lease
async def main():
    fields = json.loads({work.line().decode()!r})
    for name in ("folder", "socket", "log"):
        fields[name] = Path(fields[name])
    lease = await Lease.start(Job(**fields))
    print(lease.kept.pid, lease.kept.guardian_pid, flush=True)
    await lease.gone
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", user], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        server, guardian = map(int, process.stdout.readline().split())
        process.kill()
        took_s = until(lambda: is_dead(server) and is_dead(guardian))
    assert took_s < 5
    assert not (tmp_path / "record.json").exists()
