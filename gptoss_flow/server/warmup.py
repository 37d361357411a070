"""The completions that are run before a server counts as ready: at least one in each slot."""

from __future__ import annotations

import asyncio

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Warmup
from gptoss_flow.server.probe import NoReply, ask


async def warm_up(url: str, key: str | None, warmup: Warmup, slots: int, timeout_s: float) -> int:
    """Warm every slot and say how many completions that took. Raises `Unavailable`."""
    if warmup.count == 0:
        return 0
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
            await asyncio.gather(
                *(_complete(url, key, tokens, warmup.max_tokens, each % slots, timeout_s) for each in batch)
            )
    except (NoReply, TypeError, KeyError) as error:
        raise Unavailable(f"the server did not survive its warm-up ({error}); see its log") from None
    return count


async def _complete(
    url: str, key: str | None, tokens: list[int], max_tokens: int, slot: int, timeout_s: float
) -> None:
    # Streamed although nobody reads along: a request that is not keeps its slot when it is abandoned.
    body = {"prompt": tokens, "n_predict": max_tokens, "stream": True, "id_slot": slot, "temperature": 0.0}
    reply = await asyncio.to_thread(ask, url, "/completion", key=key, body=body, timeout_s=timeout_s)
    if reply.status != 200:
        raise Unavailable(f"the warm-up completion was refused with status {reply.status}; see the server's log")
