"""The manager with the stand-in for llama-server: real processes, scripted behaviour."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import settings
from gptoss_flow.server.guardian.child import start_ticks
from gptoss_flow.server.manager import ManagedServer
from gptoss_flow.server.probe import ask, free_port
from gptoss_flow.server.record import list_servers
from tests.server.conftest import SystemClock
from tests.server.world import in_loop, is_dead, until

MakeProfile = Callable[..., Profile]


class Watched(ManagedServer):
    """A managed server that notes what it says of itself."""

    def __init__(self, profile: Profile, model: Path, root: Path, clock: SystemClock, **more: Any) -> None:
        self.said: list[tuple[str, str, dict[str, Any]]] = []
        self.loading = asyncio.Event()
        super().__init__(
            profile,
            model,
            state_root=root,
            log_path=more.pop("log_path", None),
            on_change=self._note,
            clock=clock,
            **more,
        )

    def _note(self, state: str, detail: str, facts: dict[str, Any]) -> None:
        self.said.append((state, detail, facts))
        if state == "loading":
            self.loading.set()

    @property
    def states(self) -> list[str]:
        return [state for state, _, _ in self.said]


@pytest.fixture
def server(profile: MakeProfile, model: Path, state_root: Path, clock: SystemClock) -> Callable[..., Watched]:
    def make(script: dict[str, Any] | None = None, **keys: Any) -> Watched:
        more = {name: keys.pop(name) for name in ("log_path", "idle_timeout_s") if name in keys}
        return Watched(profile(script, **keys), model, state_root, clock, **more)

    return make


@in_loop
async def test_a_server_is_started_proved_and_stopped(server: Callable[..., Watched], model: Path) -> None:
    small = server({"load_s": 0.1})
    endpoint = await small.ensure_ready()
    assert small.alive
    assert (endpoint.engine, endpoint.slots, endpoint.context_tokens) == ("llama-server", 2, 512)
    assert (endpoint.model, endpoint.model_path, endpoint.adopted) == ("small", str(model), False)
    assert endpoint.pid and endpoint.build == "7000 (fa4e0000)"
    await small.release()
    assert is_dead(endpoint.pid)
    assert small.states == ["starting", "loading", "ready", "stopping", "stopped"]
    ready = next(facts for state, _, facts in small.said if state == "ready")
    assert {"url", "engine", "build", "model", "model_path", "context_tokens", "slots", "pid", "argv", "adopted",
            "ready_s"} <= set(ready)  # fmt: skip


@in_loop
async def test_the_key_is_needed_and_stands_in_no_argument_list_and_no_readable_file(
    server: Callable[..., Watched], state_root: Path
) -> None:
    small = server()
    endpoint = await small.ensure_ready()
    assert endpoint.api_key
    assert (await asyncio.to_thread(ask, endpoint.url, "/props", key="wrong")).status == 401
    assert endpoint.api_key not in repr(small.said) + repr(endpoint)
    (record,) = list_servers(state_root)
    assert endpoint.api_key not in json.dumps(record.argv)
    for path in await asyncio.to_thread(lambda: list(state_root.rglob("*"))):
        assert path.stat().st_mode & 0o077 == 0, path
        assert path.name == "key" or not path.is_file() or endpoint.api_key not in path.read_text()
    await small.release()


@in_loop
async def test_many_callers_share_one_start(server: Callable[..., Watched]) -> None:
    small = server()
    endpoints = await asyncio.gather(*(small.ensure_ready() for _ in range(20)))
    assert len({endpoint.pid for endpoint in endpoints}) == 1
    assert small.states == ["starting", "ready"] or small.states == ["starting", "loading", "ready"]
    await small.release()
    await small.release()


@in_loop
async def test_a_second_user_attaches_and_the_last_one_stops_it(server: Callable[..., Watched]) -> None:
    first, second = server(), server(request={"temperature": 0.0}, idle_timeout=0)
    one, two = await asyncio.gather(first.ensure_ready(), second.ensure_ready())
    assert one.pid and one.pid == two.pid and {one.adopted, two.adopted} == {True, False}
    assert one.api_key == two.api_key and two.request["temperature"] == 0.0
    await first.release()
    assert not is_dead(one.pid) and first.state == "stopped"
    await second.release()
    assert is_dead(one.pid)


@in_loop
async def test_another_load_time_key_means_another_server(server: Callable[..., Watched]) -> None:
    first, second = server(), server(batch=1024)
    one, two = await asyncio.gather(first.ensure_ready(), second.ensure_ready())
    assert one.pid != two.pid and one.api_key != two.api_key
    await asyncio.gather(first.release(), second.release())


@in_loop
async def test_stop_ends_it_whoever_uses_it(server: Callable[..., Watched]) -> None:
    first, second = server(), server()
    await first.ensure_ready()
    await second.ensure_ready()
    await first.stop()
    death = await asyncio.wait_for(asyncio.shield(second.died), 5)
    assert "stopped by somebody else" in str(death)
    assert first.state == "stopped" and second.state == "crashed"
    await second.release()
    assert second.state == "stopped"


@in_loop
async def test_a_server_that_is_to_stay_stays_and_is_adopted_later(
    server: Callable[..., Watched], clock: SystemClock
) -> None:
    starting = server(idle_timeout_s=-1.0)
    one = await starting.ensure_ready()
    await starting.release()
    assert one.pid and not is_dead(one.pid)
    user = server()
    two = await user.ensure_ready()
    assert two.adopted and two.pid == one.pid
    await user.release()
    assert not is_dead(one.pid)
    last = server()
    await last.ensure_ready()
    await last.stop()
    assert is_dead(one.pid)


@in_loop
async def test_a_server_may_stay_longer_than_the_system_can_wait_at_once(server: Callable[..., Watched]) -> None:
    one = await (user := server(idle_timeout=60 * 86_400.0)).ensure_ready()
    await user.release()
    again = await (last := server()).ensure_ready()
    assert again.adopted and again.pid == one.pid
    await last.stop()


@in_loop
async def test_stop_while_loading_settles_the_waiter(server: Callable[..., Watched]) -> None:
    small = server({"load_s": 3600.0})
    waiter = asyncio.create_task(small.ensure_ready())
    await small.loading.wait()
    await small.release()
    with pytest.raises(Unavailable, match="stopped before it was ready"):
        await waiter
    assert small.states == ["starting", "loading", "stopping", "stopped"]


@in_loop
async def test_a_server_that_never_becomes_ready_is_stopped_at_the_deadline(
    server: Callable[..., Watched], state_root: Path
) -> None:
    small = server({"load_s": 3600.0}, start_timeout=0.5)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="not ready after"):
        await small.ensure_ready()
    assert time.monotonic() - began < 8
    assert list_servers(state_root) == []


@pytest.mark.parametrize(
    ("script", "cause"),
    [
        ({"fail_load": "error: invalid argument: --frobnicate"}, "bad flag"),
        ({"fail_load": "llama_model_load: error loading model: missing tensor 'x'"}, "model corrupt"),
        ({"fail_load": "ggml_aligned_malloc: insufficient memory (attempted to allocate 41 MB)"}, "out of memory"),
    ],
)
@in_loop
async def test_what_another_try_cannot_mend_is_tried_once(
    server: Callable[..., Watched], script: dict[str, Any], cause: str
) -> None:
    small = server(script)
    with pytest.raises(Unavailable, match=cause):
        await small.ensure_ready()
    with pytest.raises(Unavailable, match=cause):
        await small.ensure_ready()
    assert small.states == ["starting", "crashed"]


@in_loop
async def test_a_crash_loop_ends_after_three_starts(server: Callable[..., Watched], clock: SystemClock) -> None:
    small = server({"fail_load": "nobody knows why"})
    with pytest.raises(Unavailable, match=r"exit code 1, 3 times in 120 s"):
        await small.ensure_ready()
    assert small.states == ["starting", "crashed"] * 3
    assert clock.long_sleeps == [1.0, 2.0]


@in_loop
async def test_a_death_in_use_is_told_at_once_and_the_next_user_gets_a_new_server(
    server: Callable[..., Watched], clock: SystemClock
) -> None:
    small = server()
    one = await small.ensure_ready()
    assert one.pid
    os.kill(one.pid, signal.SIGKILL)
    death = await asyncio.wait_for(asyncio.shield(small.died), 5)
    assert death.cause.name == "killed" and "signal 9 (SIGKILL)" in str(death) and not small.alive
    two = await small.ensure_ready()
    assert two.pid != one.pid and two.api_key != one.api_key and clock.long_sleeps == [1.0]
    await small.release()


@in_loop
async def test_a_fixed_port_that_is_taken_names_its_owner(server: Callable[..., Watched]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"port {port} is in use by .*process {os.getpid()}"):
            await server(listen={"port": port}).ensure_ready()


@in_loop
async def test_a_port_that_is_stolen_before_the_server_takes_it_is_replaced(
    server: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as thief:
        thief.bind(("127.0.0.1", 0))
        thief.listen()
        ports = [thief.getsockname()[1]] * 4
        monkeypatch.setattr(
            settings, "free_port", lambda host, port: ports.pop() if ports else free_port(host, port)
        )
        small = server()
        endpoint = await small.ensure_ready()
        assert not endpoint.url.endswith(f":{thief.getsockname()[1]}")
        assert small.states.count("crashed") == 4
        await small.release()


@in_loop
async def test_a_server_with_other_properties_is_refused_with_the_key(server: Callable[..., Watched]) -> None:
    props = {"total_slots": 7, "model_path": "/other.gguf", "default_generation_settings": {"n_ctx": 16}}
    small = server({"answers": {"/props": {"status": 200, "body": json.dumps(props)}}})
    with pytest.raises(Unavailable, match=r"accepts any key|parallel: it has 7 slots"):
        await small.ensure_ready()
    assert small.state == "crashed"


@in_loop
async def test_a_record_of_a_foreign_process_is_dropped_and_that_process_is_left_alone(
    server: Callable[..., Watched], state_root: Path
) -> None:
    small = server(idle_timeout_s=-1.0)
    await small.ensure_ready()
    (record,) = list_servers(state_root)
    folder = Path(record.folder)
    forged = json.loads(folder.joinpath("record.json").read_text())
    await small.stop()
    foreign = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE)
    try:
        for changes in (
            {},
            {"pid": foreign.pid},
            {"pid": foreign.pid, "start_ticks": start_ticks(foreign.pid)},
            {"boot_id": "another boot"},
        ):
            folder.joinpath("record.json").write_text(json.dumps(forged | changes))
            folder.joinpath("guardian.sock").touch()
            fresh = server()
            endpoint = await fresh.ensure_ready()
            assert not endpoint.adopted
            await fresh.release()
    finally:
        await foreign.communicate(b"\n")
    assert foreign.returncode == 0


@in_loop
async def test_a_state_folder_that_cannot_be_used_is_said(
    profile: MakeProfile, model: Path, tmp_path: Path, clock: SystemClock
) -> None:
    tmp_path.joinpath("file").write_text("")
    small = Watched(profile(), model, tmp_path / "file", clock)
    with pytest.raises(Unavailable, match=r"cannot be used|cannot be kept"):
        await small.ensure_ready()


@in_loop
async def test_every_slot_is_warmed_where_the_profile_asks(server: Callable[..., Watched]) -> None:
    small = server(warmup={"count": 1, "max_tokens": 2}, parallel=3)
    await small.ensure_ready()
    assert next(facts for state, _, facts in small.said if state == "ready")["warmup_completions"] == 3
    await small.release()


@in_loop
async def test_the_log_lies_where_it_was_asked_for(server: Callable[..., Watched], tmp_path: Path) -> None:
    small = server(log_path=tmp_path / "run.log")
    endpoint = await small.ensure_ready()
    assert endpoint.log_path == tmp_path / "run.log" and "build: 7000" in endpoint.log_path.read_text()
    assert endpoint.log_path.stat().st_mode & 0o777 == 0o600
    await small.release()


@in_loop
async def test_a_suspended_server_is_stopped_too(server: Callable[..., Watched]) -> None:
    small = server()
    endpoint = await small.ensure_ready()
    assert endpoint.pid
    os.kill(endpoint.pid, signal.SIGSTOP)
    await small.release()
    assert small.state == "stopped" and is_dead(endpoint.pid)


def test_twelve_processes_start_one_server(
    profile: MakeProfile, model: Path, state_root: Path, tmp_path: Path
) -> None:
    keys = profile({"load_s": 0.3}).model_dump(mode="json", exclude_unset=True)
    user = f"""
import asyncio, json, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.manager import ManagedServer
from tests.server.conftest import SystemClock
async def main():
    profile = Profile.model_validate_json({json.dumps(keys)!r})
    server = ManagedServer(profile, Path({str(model)!r}), state_root=Path({str(state_root)!r}), log_path=None,
                           on_change=lambda *change: None, clock=SystemClock())
    endpoint = await server.ensure_ready()
    print(endpoint.pid, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    await server.release()
asyncio.run(main())
"""
    users = [
        subprocess.Popen([sys.executable, "-c", user], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(12)
    ]
    pids = {each.stdout.readline().strip() for each in users if each.stdout}
    outcomes = [each.communicate("\n") and each.returncode for each in users]
    assert len(pids) == 1 and outcomes == [0] * 12
    until(lambda: is_dead(int(pids.pop())) if pids else True)
    assert list_servers(state_root) == []
