from __future__ import annotations

import asyncio

from gptoss_flow.testing.clock import ManualClock


def test_sleepers_wake_in_order_when_their_time_has_come() -> None:
    async def run() -> list[str]:
        clock, woken = ManualClock(), []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(f"{name} at {clock.monotonic():g}")

        tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("late", 5), ("early", 1))]
        await clock.until_sleeping(2)
        clock.advance(0.5)
        await asyncio.sleep(0)
        assert woken == []
        assert clock.sleepers == 2
        clock.advance(10)
        await asyncio.gather(*tasks)
        return woken

    assert asyncio.run(run()) == ["early at 10.5", "late at 10.5"]


def test_a_cancelled_sleeper_is_forgotten() -> None:
    async def run() -> None:
        clock = ManualClock()
        task = asyncio.create_task(clock.sleep(5))
        await clock.until_sleeping()
        task.cancel()
        await asyncio.wait({task})
        assert clock.sleepers == 0
        clock.advance(10)

    asyncio.run(run())


def test_the_wall_clock_moves_along() -> None:
    clock = ManualClock()
    before = clock.now()
    clock.advance(90)
    assert (clock.now() - before).total_seconds() == clock.monotonic() == 90
