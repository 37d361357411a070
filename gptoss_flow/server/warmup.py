"""Completions that warm a server's slots: before it counts as ready, and when a user asks for it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile_parts import Warmup
from gptoss_flow.server.guardian.keepalive import mark_of, warm_request
from gptoss_flow.server.probe import NoReply, ask


@dataclass(frozen=True, slots=True)
class Warmed:
    """One warm-up completion: in which slot, and how long it took."""

    slot: int
    took_s: float


async def warm_up(
    url: str, key: str | None, warmup: Warmup, slots: int, timeout_s: float, *, nonce: str
) -> list[Warmed]:
    """Warm every slot, all of them at once, `warmup.count` times or more in all. Raises `Unavailable`.

    `nonce` is the server's: by it its guardian knows what was no user's request.
    """
    if warmup.count == 0:
        return []
    warmed: list[Warmed] = []
    try:
        reply = await asyncio.to_thread(
            ask,
            url,
            "/tokenize",
            key=key,
            body={"content": warmup.prompt},
            timeout_s=timeout_s,
        )
        tokens = reply.body["tokens"]
        count = max(warmup.count, slots)
        for first in range(0, count, slots):
            batch = range(first, min(first + slots, count))
            bodies = [warm_request(tokens, warmup.max_tokens, each % slots, mark_of(nonce)) for each in batch]
            warmed += await asyncio.gather(*(_complete(url, key, body, timeout_s) for body in bodies))
    except (NoReply, TypeError, KeyError) as error:
        raise Unavailable(f"the server did not survive its warm-up ({error}); see its log") from None
    return warmed


async def _complete(url: str, key: str | None, body: dict[str, object], timeout_s: float) -> Warmed:
    began = time.perf_counter()
    reply = await asyncio.to_thread(ask, url, "/completion", key=key, body=body, timeout_s=timeout_s)
    if reply.status != 200:
        raise Unavailable(f"the warm-up completion was refused with status {reply.status}; see the server's log")
    slot = body["id_slot"]
    assert isinstance(slot, int)
    return Warmed(slot, time.perf_counter() - began)
