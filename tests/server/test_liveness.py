"""A server that hangs is killed by whoever waits for it, and the next user gets another one."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import alive, manager
from gptoss_flow.server.alive import health_probe
from gptoss_flow.server.process import Gone, Lease
from tests.conftest import need
from tests.server.conftest import SystemClock
from tests.server.races import idle_stop_against_attach
from tests.server.test_manager import Watched
from tests.server.world import in_loop, is_dead

Make = Callable[..., Watched]


@pytest.fixture
def server(profile: Callable[..., Profile], model: Path, state_root: Path, clock: SystemClock) -> Make:
    def make(script: dict[str, Any] | None = None, **keys: Any) -> Watched:
        return Watched(profile(script, **keys), model, state_root, clock)

    return make


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same watch, fifty times as quick."""
    monkeypatch.setattr(alive, "QUIET_S", 0.04)
    monkeypatch.setattr(alive, "HEALTH_TIMEOUT_S", 0.1)


@in_loop
async def test_a_server_that_hangs_under_a_request_is_killed_and_told_of(server: Make, impatient: None) -> None:
    small = server()
    one = await small.ensure_ready()
    other = server()
    await other.ensure_ready()
    assert one.pid
    with small.pulse.request():
        os.kill(one.pid, signal.SIGSTOP)
        death = await asyncio.wait_for(asyncio.shield(small.died), 10)
    assert death.cause.name == "hung" and "gave no answer for 15 s" in str(death)
    assert (await asyncio.wait_for(asyncio.shield(other.died), 5)).cause.name == "hung"
    assert is_dead(one.pid) and small.state == "crashed"
    two = await small.ensure_ready()
    assert two.pid != one.pid
    await small.release()
    await other.release()


@in_loop
async def test_a_server_found_hanging_is_killed_and_started_anew(
    server: Make, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = server(idle_timeout=-1)
    one = await small.ensure_ready()
    await small.release()
    assert one.pid
    os.kill(one.pid, signal.SIGSTOP)
    monkeypatch.setattr("gptoss_flow.server.probe.ASK_TIMEOUT_S", 0.2)
    user = server()
    two = await user.ensure_ready()
    assert two.pid != one.pid and is_dead(one.pid)
    assert user.states[0] == "crashed" and "hung" in user.said[0][1]
    await user.stop()


@in_loop
async def test_what_is_found_is_never_told_as_starting_and_what_stays_never_as_stopping(server: Make) -> None:
    first = server(idle_timeout=-1)
    await first.ensure_ready()
    second = server()
    await second.ensure_ready()
    assert second.states == ["ready"] and "was already running" in second.said[0][1]
    await second.release()
    assert second.said[1:] == [("stopped", "it stays: 1 other user of it", {})]
    await first.release()
    assert first.said[-1] == ("stopped", "it stays until it is stopped", {})
    assert "stopping" not in first.states
    last = server()
    await last.ensure_ready()
    await last.stop()
    assert last.states == ["ready", "stopping", "stopped"]


@in_loop
async def test_a_start_by_another_process_is_told_as_loading(server: Make) -> None:
    first, second = server({"load_s": 0.5}), server({"load_s": 0.5})
    starting = asyncio.create_task(first.ensure_ready())
    await first.loading.wait()
    await second.ensure_ready()
    await starting
    assert second.states == ["loading", "ready"] and "another process" in second.said[0][1]
    await first.release()
    await second.release()


@in_loop
async def test_the_keepalive_waits_while_a_request_runs(server: Make) -> None:
    small = server(keepalive=0.02)
    await small.ensure_ready()
    obtained = small._obtained
    assert obtained

    async def waits() -> str:
        lease = await Lease.look(Path(obtained.record.socket))
        assert lease
        await lease.close()
        return str(lease.kept.keepalive["waits"])

    with small.pulse.request():
        while await waits() != "its users' requests run":
            pass
    while await waits() == "its users' requests run":
        pass
    await small.release()


@in_loop
async def test_an_idle_stop_and_a_new_user_never_meet_in_an_error(server: Make) -> None:
    lateness = await idle_stop_against_attach(lambda: server(idle_timeout=0.15), rounds=12)
    assert len(lateness) == 12


@in_loop
async def test_a_request_that_outlasts_the_idle_timeout_is_not_cut(server: Make) -> None:
    small = server(idle_timeout=0.05)
    endpoint = await small.ensure_ready()
    until = time.monotonic() + 0.4
    with small.pulse.request():
        while time.monotonic() < until:
            assert endpoint.pid and not is_dead(endpoint.pid)
            await asyncio.sleep(0)
    await small.stop()


@in_loop
async def test_the_health_probe_takes_a_refusal_for_an_answer() -> None:
    assert await health_probe("http://127.0.0.1:9")(1.0)


@pytest.mark.real
@pytest.mark.timeout(120)
@in_loop
async def test_a_real_server_that_is_suspended_is_found_within_twenty_seconds(
    demo_model: Path, state_root: Path, clock: SystemClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    monkeypatch.setattr(alive, "QUIET_S", 0.9)  # this clock skips waits of a second and more
    keys = {"name": "demo", "engine": "embedded", "parallel": 2, "context": 512, "threads": 1}
    real = Watched(Profile.model_validate(keys), demo_model, state_root, clock)
    endpoint = await real.ensure_ready()
    assert endpoint.pid
    with real.pulse.request():
        os.kill(endpoint.pid, signal.SIGSTOP)
        began = time.monotonic()
        death = await asyncio.wait_for(asyncio.shield(real.died), 30)
    assert 14 < time.monotonic() - began <= 20
    assert death.cause.name == "hung" and is_dead(endpoint.pid)
    assert manager.HANGS in str(death) and Gone(None, asked=False).why == ""
    await real.release()
