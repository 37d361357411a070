"""Servers that outlive the command: start one and leave it running, see which run, warm one, stop one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Clock, Endpoint
from gptoss_flow.server.manager import ManagedServer, OnChange
from gptoss_flow.server.process import Kept, Lease
from gptoss_flow.server.readiness import start_timeout_s
from gptoss_flow.server.record import ServerRecord, list_servers, read_key, untrue
from gptoss_flow.server.starter import STOPPING_S
from gptoss_flow.server.warmup import Warmed, warm_up

STAY = -1.0
"""The idle timeout of a server that stays until it is stopped."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that its guardian vouches for. `users`: processes that hold it now."""

    record: ServerRecord
    state: Literal["loading", "ready", "stopping"]
    users: int
    keepalive: Mapping[str, Json]
    """As `guardian.keepalive.Keepalive.told` says."""
    stops_in_s: float | None
    """When it stops by itself; None where it is in use, or stays."""

    @classmethod
    def of(cls, record: ServerRecord, kept: Kept) -> Running:
        return cls(record, kept.state, kept.users, kept.keepalive, kept.stops_in_s)


async def start(
    profile: Profile,
    model_path: Path,
    *,
    state_root: Path,
    on_change: OnChange,
    clock: Clock,
    idle_timeout_s: float = STAY,
) -> Endpoint:
    """Start the profile's server, or find it running, and leave it running. Raises `Unavailable`."""
    server = ManagedServer(
        profile,
        model_path,
        state_root=state_root,
        log_path=None,
        on_change=on_change,
        clock=clock,
        idle_timeout_s=idle_timeout_s,
    )
    try:
        return await server.ensure_ready()
    finally:
        await server.release()


async def ps(state_root: Path) -> list[Running]:
    """Every server that runs, oldest first. Records of servers that are no more are passed over."""
    return [running for record in list_servers(state_root) if (running := await _look(record))]


async def stop_server(record: ServerRecord) -> None:
    """Have its guardian stop it. Raises `Unavailable` if that takes too long."""
    lease = await Lease.look(Path(record.socket))
    if lease is not None and not await lease.stop(STOPPING_S):
        raise Unavailable(f"server {record.name} (process {record.pid}) was not gone after {STOPPING_S:.0f} s")


def profile_of(record: ServerRecord) -> Profile:
    """The profile that it was started with. Raises `Unavailable` where that was not written down."""
    if not record.profile:
        raise Unavailable(
            f"how server {record.name} was started is not known: stop it, and start it by its profile"
        )
    return Profile.model_validate_json(json.dumps(record.profile))


async def restart(record: ServerRecord, *, state_root: Path, on_change: OnChange, clock: Clock) -> Endpoint | None:
    """Stop it and start it as it was, to stay as it stayed; None for one that only its users kept: it is stopped.

    Raises `Unavailable`.
    """
    profile = profile_of(record)
    await stop_server(record)
    if record.idle_timeout_s == 0:
        return None
    return await start(
        profile,
        Path(record.model_path),
        state_root=state_root,
        on_change=on_change,
        clock=clock,
        idle_timeout_s=record.idle_timeout_s,
    )


async def warm(record: ServerRecord) -> list[Warmed]:
    """Run its profile's warm-up, at least one completion in each slot, as a user of it. Raises `Unavailable`."""
    profile = profile_of(record)
    warmup = profile.warmup.model_copy(update={"count": max(1, profile.warmup.count)})
    timeout_s = start_timeout_s(profile, 0)
    lease = await Lease.attach(Path(record.socket), 0.0)
    if lease is None or lease.kept.state != "ready":
        raise Unavailable(f"server {record.name} is not ready")
    try:
        lease.pause()
        key = read_key(Path(record.folder))
        return await warm_up(record.url, key, warmup, record.slots, timeout_s, nonce=record.nonce)
    finally:
        await lease.close()


async def keep_alive(record: ServerRecord, every_s: float, max_tokens: int) -> Running:
    """From now on, touch it so often while it is idle; 0: no more. Raises `Unavailable`."""
    lease = await Lease.look(Path(record.socket))
    if lease is None:
        raise Unavailable(f"server {record.name} has just ended")
    try:
        return Running.of(record, await lease.keep_alive(every_s, max_tokens))
    finally:
        await lease.close()


async def _look(record: ServerRecord) -> Running | None:
    if untrue(record):
        return None
    lease = await Lease.look(Path(record.socket))
    if lease is None:
        return None
    await lease.close()
    return Running.of(record, lease.kept) if lease.kept.nonce == record.nonce else None
