"""Whether a server in use still lives: tokens that flow prove it; without them it is asked, three times.

A server hangs if no sign of life comes while `/health` stays unanswered three times in a row, 5 s each. Time in
which this process was suspended itself proves nothing against the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from gptoss_flow.ports import Clock

QUIET_S = 2.0
"""How long a server whose requests run may send nothing before it is asked."""
HEALTH_TIMEOUT_S = 5.0
STRIKES = 3
LATE_S = 2.0
"""A wait that ends so much later than it should means that we were suspended, or had no processor."""

Probe = Callable[[float], Awaitable[bool]]
"""Whether the server gives an answer within so many seconds."""


class Pulse:
    """What a user's requests tell of a server: whether any run (`busy`), and when a sign of life last came.

    `on_busy` is called with True when the first begins and with False when the last ends.
    """

    def __init__(self, clock: Clock, on_busy: Callable[[bool], None] = lambda busy: None) -> None:
        self._clock = clock
        self._on_busy = on_busy
        self._requests = 0
        self.busy = asyncio.Event()
        self.last_sign = clock.monotonic()

    def beat(self) -> None:
        """Something came."""
        self.last_sign = self._clock.monotonic()

    @contextmanager
    def request(self) -> Iterator[None]:
        """One request, from before it is sent until after its end."""
        self._requests += 1
        if self._requests == 1:
            self.busy.set()
            self._on_busy(True)
        try:
            yield
            self.beat()
        finally:
            self._requests -= 1
            if self._requests == 0:
                self.busy.clear()
                self._on_busy(False)


async def until_hung(pulse: Pulse, probe: Probe, clock: Clock) -> None:
    """Returns once the server hangs; watches it only while requests run."""
    strikes = 0
    while strikes < STRIKES:
        await pulse.busy.wait()
        if not strikes and not await _is_quiet(pulse, clock):
            continue
        began = clock.monotonic()
        answers = await probe(HEALTH_TIMEOUT_S)
        is_late = clock.monotonic() - began > HEALTH_TIMEOUT_S + LATE_S
        is_alive = answers or is_late or pulse.last_sign > began or not pulse.busy.is_set()
        strikes = 0 if is_alive else strikes + 1


async def hangs(probe: Probe) -> bool:
    """Whether a server gives no answer, however often it is asked."""
    for _ in range(STRIKES):
        if await probe(HEALTH_TIMEOUT_S):
            return False
    return True


async def _is_quiet(pulse: Pulse, clock: Clock) -> bool:
    began = clock.monotonic()
    await clock.sleep(QUIET_S)
    return pulse.last_sign <= began and clock.monotonic() - began <= QUIET_S + LATE_S


def health_probe(url: str) -> Probe:
    """Asks `/health`, whatever it says; that it refuses the connection is an answer too."""
    parts = urlsplit(url)

    async def answers(timeout_s: float) -> bool:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                await reader.readline()
        except TimeoutError:
            return False
        except OSError:
            return True  # its end is told by its guardian
        finally:
            if writer is not None:
                writer.close()
        return True

    return answers
