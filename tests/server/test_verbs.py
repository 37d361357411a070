from collections.abc import Callable
from pathlib import Path

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import verbs
from tests.server.conftest import SystemClock
from tests.server.world import in_loop, is_dead


@in_loop
async def test_a_server_is_started_left_running_seen_and_stopped(
    profile: Callable[..., Profile], model: Path, state_root: Path, clock: SystemClock
) -> None:
    for _ in range(2):
        endpoint = await verbs.start(
            profile(), model, state_root=state_root, on_change=lambda *change: None, clock=clock
        )
    assert endpoint.adopted and endpoint.pid
    (running,) = await verbs.ps(state_root)
    assert (running.record.name, running.state, running.users) == ("small", "ready", 0)
    await verbs.stop_server(running.record)
    assert is_dead(endpoint.pid) and await verbs.ps(state_root) == []
