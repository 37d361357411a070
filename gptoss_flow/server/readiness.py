"""Waits until a server that we are a user of is ready: healthy, proved to be the right one, and warm."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from gptoss_flow.errors import FlowError, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Clock
from gptoss_flow.server.identity import Expected, prove
from gptoss_flow.server.listeners import require_alone
from gptoss_flow.server.probe import NoReply, ask
from gptoss_flow.server.process import Gone, first_done
from gptoss_flow.server.starter import Obtained
from gptoss_flow.server.warmup import warm_up

POLL_FIRST_S = 0.005
POLL_LAST_S = 0.1
HEALTH_TIMEOUT_S = 5.0
NEWS_S = 1.0
"""How long the news of a server's end may be behind the end of its connections."""


class Ended(Exception):
    """The server is gone before it was ready."""

    def __init__(self, gone: Gone) -> None:
        super().__init__(str(gone))
        self.gone = gone


async def become_ready(
    profile: Profile, obtained: Obtained, timeout_s: float, clock: Clock, on_loading: Callable[[], None]
) -> Mapping[str, Json]:
    """Wait for it, and where it falls to us watch over its start and warm it. Its facts, as its users see them.

    Raises `Ended` the moment that it is gone, `NotOurs` and `NoReply` where it is not what it should be,
    `Unavailable` after `timeout_s`.
    """
    gone = obtained.lease.gone
    work = asyncio.create_task(_become_ready(profile, obtained, timeout_s, clock, on_loading))
    try:
        await first_done(work, gone, timeout_s=timeout_s)
        if work.done() and work.exception() is not None:
            await asyncio.wait({gone}, timeout=NEWS_S)
        if gone.done():
            raise Ended(gone.result())
        if not work.done():
            raise Unavailable(
                f"the server was not ready after {timeout_s:.0f} s; see its log, or raise start_timeout"
            )
        return work.result()
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError, FlowError, NoReply):
            await work


async def _become_ready(
    profile: Profile, obtained: Obtained, timeout_s: float, clock: Clock, on_loading: Callable[[], None]
) -> Mapping[str, Json]:
    lease, url, key = obtained.lease, obtained.record.url, obtained.key
    await first_done(lease.ready, lease.lead)
    leads = not lease.ready.done()
    if leads:
        await _healthy(url, clock, on_loading)
    record = obtained.record
    require_alone(record.host, record.port, record.pid)  # before a stranger is told the key
    found = await asyncio.to_thread(prove, url, key, expected(profile, obtained.record.model_path))
    if leads or (profile.warmup.force and lease.kept.users == 1):
        nonce = obtained.record.nonce
        warmed = await warm_up(url, key, profile.warmup, profile.parallel, timeout_s, nonce=nonce)
    if not leads:
        return lease.ready.result()
    facts = {
        "url": url,
        "engine": obtained.record.engine,
        "build": obtained.record.build,
        "model": profile.model.alias or Path(obtained.record.model_path).stem,
        "model_path": obtained.record.model_path,
        "context_tokens": found.context_tokens,
        "slots": found.slots,
        "threads": obtained.record.threads,
        "warmup_completions": len(warmed),
        "pid": obtained.record.pid,
        "argv": obtained.record.argv,
    }
    lease.tell_ready(facts)
    return facts


async def _healthy(url: str, clock: Clock, on_loading: Callable[[], None]) -> None:
    """Poll `/health`, which needs no key: refused, then 503 while it loads, then 200."""
    wait_s, loading = POLL_FIRST_S, False
    while True:
        with contextlib.suppress(NoReply):
            reply = await asyncio.to_thread(ask, url, "/health", timeout_s=HEALTH_TIMEOUT_S)
            if reply.status == 200:
                return
            if not loading:
                loading = True
                on_loading()
        await clock.sleep(wait_s)
        wait_s = min(wait_s * 1.3, POLL_LAST_S)


def expected(profile: Profile, model_path: str) -> Expected:
    """What a server that we start for this profile must say of itself."""
    return Expected(model_path, None, profile.parallel, profile.context_per_slot)


def start_timeout_s(profile: Profile, model_bytes: int) -> float:
    """The profile's, or two minutes and a second more for every 20 MB that a slow disk has to read."""
    return 120.0 + model_bytes / 20e6 if profile.start_timeout == "auto" else profile.start_timeout
