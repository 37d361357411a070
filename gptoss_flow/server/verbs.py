"""Servers that outlive the command: start one and leave it running, see which run, stop one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Clock, Endpoint
from gptoss_flow.server.manager import ManagedServer, OnChange
from gptoss_flow.server.process import Lease
from gptoss_flow.server.record import ServerRecord, list_servers, untrue
from gptoss_flow.server.starter import STOPPING_S

STAY = -1.0
"""The idle timeout of a server that stays until it is stopped."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that its guardian vouches for. `users`: processes that hold it now."""

    record: ServerRecord
    state: Literal["loading", "ready", "stopping"]
    users: int


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


async def _look(record: ServerRecord) -> Running | None:
    if untrue(record):
        return None
    lease = await Lease.look(Path(record.socket))
    if lease is None:
        return None
    await lease.close()
    return Running(record, lease.kept.state, lease.kept.users) if lease.kept.nonce == record.nonce else None
