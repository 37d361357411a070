"""Scenes of a server that is about to stop by itself when somebody wants it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from gptoss_flow.server.manager import ManagedServer


async def idle_stop_against_attach(
    make: Callable[[], ManagedServer], *, rounds: int, seed: int = 0
) -> list[float]:
    """In each round a user comes at a random moment around the idle timeout that the one before has begun.

    `make` makes users of one profile with a short idle timeout. Each of them must get a server, adopted or fresh;
    whatever is raised is the scene's failure. How late each came after the one before, in seconds.
    """
    chance = random.Random(seed)
    lateness = []
    for _ in range(rounds):
        user = make()
        endpoint = await user.ensure_ready()
        assert user.alive and endpoint.pid
        await user.release()
        lateness.append(chance.uniform(0.5, 1.3) * user.profile.idle_timeout)
        await asyncio.sleep(lateness[-1])
    last = make()
    await last.ensure_ready()
    await last.stop()
    return lateness
