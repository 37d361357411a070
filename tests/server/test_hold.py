"""A user without an event loop: counted as long as it holds on, and told of no server that is not proved."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import verbs
from gptoss_flow.server.hold import hold
from gptoss_flow.server.record import list_servers
from tests.server.conftest import SystemClock
from tests.server.world import in_loop, is_dead


@in_loop
async def test_a_server_that_is_held_is_used_and_stays_as_long_as_it_would(
    profile: Callable[..., Profile], model: Path, state_root: Path, clock: SystemClock
) -> None:
    await verbs.start(
        profile(), model, state_root=state_root, on_change=lambda *_: None, clock=clock, idle_timeout_s=600.0
    )
    (record,) = list_servers(state_root)
    with hold(record) as is_there:
        assert is_there
        (held,) = await verbs.ps(state_root)
        assert held.users == 1
    await asyncio.sleep(0)
    (left,) = await verbs.ps(state_root)
    assert (left.users, left.record.idle_timeout_s) == (0, 600.0)
    await verbs.stop_server(record)


@in_loop
async def test_what_is_not_proved_is_not_there(
    profile: Callable[..., Profile], model: Path, state_root: Path, clock: SystemClock
) -> None:
    await verbs.start(profile(), model, state_root=state_root, on_change=lambda *_: None, clock=clock)
    (record,) = list_servers(state_root)
    for wrong in ({"nonce": "x"}, {"pid": os.getpid()}, {"boot_id": "x"}, {"socket": str(state_root / "none")}):
        with hold(dataclasses.replace(record, **wrong)) as is_there:
            assert not is_there, wrong
    await verbs.stop_server(record)
    assert is_dead(record.pid)
    with hold(record) as is_there:
        assert not is_there
