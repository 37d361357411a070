"""What can be done to a server that runs: warm it, keep it warm, start it anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_flow.app.narrate import Say, narrated
from gptoss_flow.app.servers import Servers, server_id, which_one
from gptoss_flow.errors import FlowError, Invalid, Problem, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server import verbs
from gptoss_flow.server.verbs import Running
from gptoss_flow.server.warmup import Warmed

KEEPALIVE_S = 1.0
"""How often a server is touched whose profile does not say."""


@dataclass(frozen=True, slots=True)
class Warming:
    """What a server's warm-up took, in all and in each slot."""

    running: Running
    completions: Sequence[Warmed]
    took_s: float


async def one_server(servers: Servers, ref: str | None) -> Running:
    """The one that `ref` means, or the only one. Raises `Invalid` where it is unclear, `Unavailable` for none."""
    found = await servers.find(ref)
    if len(found) > 1:
        raise Invalid(which_one(found))
    if not found:
        what = "no server" if ref is None else f'no server of "{ref}"'
        start_it = "gptoss-flow server start" + (f" {ref}" if ref is not None else "")
        raise Unavailable(f"{what} runs; start it with: {start_it}")
    return found[0]


async def warm(running: Running) -> Warming:
    """Run warm-up completions, at least one in each slot. Raises `Unavailable`."""
    began = time.perf_counter()
    completions = await verbs.warm(running.record)
    return Warming(running, completions, time.perf_counter() - began)


async def keep_warm(running: Running, every_s: float | None, max_tokens: int | None) -> Running:
    """Touch it so often while it is idle; what is not said is as its profile says. Raises `Unavailable`."""
    wanted = verbs.profile_of(running.record).keepalive
    return await verbs.keep_alive(
        running.record, every_s or wanted.every or KEEPALIVE_S, max_tokens or wanted.max_tokens
    )


async def let_cool(running: Running) -> Running:
    """Touch it no more. Raises `Unavailable`."""
    return await verbs.keep_alive(running.record, 0.0, int(running.keepalive.get("max_tokens", 1)))


async def restart(servers: Servers, running: Running, say: Say, *, force: bool) -> Running | None:
    """Stop it and start it as it was; None where it was only kept by its users, who start it again themselves.

    Raises `FlowError` where it is in use and that is not to be interrupted (`force`), and `Unavailable`.
    """
    if running.users and not force:
        count = f"{running.users} process{'' if running.users == 1 else 'es'}"
        hint = "wait until they have ended, or restart it under them with --force"
        raise FlowError(Problem(None, f"server {running.record.name} is in use by {count}", hint))

    endpoint = await verbs.restart(
        running.record, state_root=servers.state_root, on_change=narrated(say), clock=SystemClock()
    )
    return None if endpoint is None else await servers.at(endpoint)


def warming_json(warming: Warming) -> dict[str, Json]:
    """A warm-up as data; times in seconds."""
    return {
        "name": warming.running.record.name,
        "id": server_id(warming.running.record),
        "took_s": round(warming.took_s, 4),
        "completions": [{"slot": each.slot, "took_s": round(each.took_s, 4)} for each in warming.completions],
    }


def keepalive_json(running: Running) -> dict[str, Json]:
    """A server's keepalive as data; times in seconds, `last_at` since 1970."""
    return {"name": running.record.name, "id": server_id(running.record), **running.keepalive}
