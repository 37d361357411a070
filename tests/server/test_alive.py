"""When a server counts as hung, by a clock that moves only when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gptoss_flow.server.alive import HEALTH_TIMEOUT_S, QUIET_S, Pulse, hangs, until_hung
from gptoss_flow.testing.clock import ManualClock
from tests.server.world import in_loop


@dataclass
class World:
    """A clock, and a server that answers after `answers_after_s`: never, unless a test says so."""

    clock: ManualClock = field(default_factory=ManualClock)
    answers_after_s: float = 1e9
    probes: int = 0

    async def probe(self, timeout_s: float) -> bool:
        self.probes += 1
        await self.clock.sleep(min(timeout_s, self.answers_after_s))
        return self.answers_after_s < timeout_s

    async def advance(self, seconds: float, step_s: float = 0.5, then: Callable[[], None] = lambda: None) -> None:
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            then()
            for _ in range(5):
                await asyncio.sleep(0)


@pytest.fixture
def world() -> World:
    return World()


async def watched(world: World, pulse: Pulse) -> asyncio.Task[None]:
    watch = asyncio.create_task(until_hung(pulse, world.probe, world.clock))
    for _ in range(5):
        await asyncio.sleep(0)
    return watch


@in_loop
async def test_a_server_that_answers_nothing_hangs_after_at_most_twenty_seconds(world: World) -> None:
    pulse = Pulse(world.clock)
    with pulse.request():
        watch = await watched(world, pulse)
        await world.advance(QUIET_S - 0.5)
        pulse.beat()  # the worst moment for the last token
        last = world.clock.monotonic()
        while not watch.done():
            await world.advance(0.5)
        assert world.clock.monotonic() - last <= 20
        assert world.probes == 3


@in_loop
async def test_flowing_tokens_are_proof_of_life_however_slow_the_health_probe_is(world: World) -> None:
    pulse = Pulse(world.clock)
    with pulse.request():
        watch = await watched(world, pulse)
        await world.advance(120, step_s=0.2, then=pulse.beat)
        assert world.probes == 0
        for _ in range(30):  # now and then one, while a probe is under way
            await world.advance(QUIET_S + HEALTH_TIMEOUT_S - 1)
            pulse.beat()
        assert not watch.done() and world.probes > 20
        watch.cancel()


@in_loop
async def test_a_long_prompt_without_tokens_is_no_hang_where_the_probe_is_answered(world: World) -> None:
    world.answers_after_s = 4.0
    pulse = Pulse(world.clock)
    with pulse.request():
        watch = await watched(world, pulse)
        await world.advance(600)
        assert not watch.done()
        watch.cancel()


@in_loop
async def test_nobody_watches_a_server_that_has_nothing_to_do(world: World) -> None:
    pulse = Pulse(world.clock)
    watch = await watched(world, pulse)
    await world.advance(600)
    with pulse.request():
        await world.advance(1)
    await world.advance(600)
    assert not watch.done() and world.probes <= 1
    watch.cancel()


@in_loop
async def test_time_in_which_we_were_suspended_proves_nothing(world: World) -> None:
    pulse = Pulse(world.clock)
    with pulse.request():
        watch = await watched(world, pulse)
        for _ in range(20):
            await world.advance(QUIET_S + HEALTH_TIMEOUT_S)  # it is in its first or second probe
            await world.advance(600, step_s=600)  # and then nothing of us ran for ten minutes
            assert not watch.done()
        watch.cancel()


@in_loop
async def test_a_pulse_tells_when_the_first_request_begins_and_the_last_ends(world: World) -> None:
    told: list[bool] = []
    pulse = Pulse(world.clock, told.append)
    with pulse.request(), pulse.request():
        assert told == [True] and pulse.busy.is_set()
    assert told == [True, False] and not pulse.busy.is_set()


@in_loop
async def test_a_failed_request_is_no_sign_of_life(world: World) -> None:
    pulse = Pulse(world.clock)
    world.clock.advance(5)
    with pytest.raises(ValueError, match="no"), pulse.request():
        raise ValueError("no")
    assert pulse.last_sign == 0.0
    with pulse.request():
        pass
    assert pulse.last_sign == 5.0


@pytest.mark.parametrize("answer", [True, False])
@in_loop
async def test_one_answer_of_three_is_enough(answer: bool) -> None:
    answers = [False, False, answer]

    async def probe(timeout_s: float) -> bool:
        return answers.pop(0)

    assert await hangs(probe) is not answer
