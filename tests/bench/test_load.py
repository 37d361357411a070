from __future__ import annotations

import asyncio
import time
from itertools import islice, pairwise
from statistics import fmean, pstdev

import pytest

from gptoss_flow.bench.load import GIVE_UP_AFTER, Amounts, Driven, Driver, Shot, arrivals, lag_of


def amounts(**more: float | None) -> Amounts:
    given: dict[str, float | None] = {"warmup": 0, "requests": 10, "duration_s": None, "cooldown": 0}
    return Amounts(**(given | more))  # type: ignore[arg-type]


class Asked:
    """A server that takes 5 ms for each request; those whose numbers are in `failing` fail."""

    def __init__(self, failing: range = range(0)) -> None:
        self.failing = failing
        self.now = self.most = 0

    async def __call__(self, shot: Shot) -> bool:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.005)
        finally:
            self.now -= 1
        return shot.number not in self.failing


def phases(driven: Driven) -> str:
    return "".join(shot.phase[0] for shot in driven.shots)


def test_arrivals_are_a_poisson_process_that_its_seed_decides() -> None:
    times = list(islice(arrivals(5.0, 1), 4000))
    assert times == list(islice(arrivals(5.0, 1), 4000))
    assert times != list(islice(arrivals(5.0, 2), 4000))
    gaps = [after - before for before, after in pairwise(times)]
    assert times[0] == 0
    assert fmean(gaps) == pytest.approx(0.2, rel=0.05)
    assert pstdev(gaps) == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_closed_loop_has_so_many_at_once(concurrency: int) -> None:
    asked = Asked()
    driven = asyncio.run(Driver(amounts(warmup=2), asked).closed(concurrency))
    assert phases(driven) == "ww" + "m" * 10
    assert asked.most == concurrency
    assert all(shot.ended for shot in driven.shots)


def test_the_load_goes_on_until_the_last_measured_request_has_ended() -> None:
    driven = asyncio.run(Driver(amounts(cooldown=None), Asked()).closed(3))
    measured = [shot for shot in driven.shots if shot.phase == "measured"]
    assert len(measured) == 10
    assert all(shot.ended for shot in measured)
    assert "c" in phases(driven)
    assert phases(asyncio.run(Driver(amounts(cooldown=1), Asked()).closed(3))).count("c") == 1


def test_an_open_loop_does_not_wait_for_answers() -> None:
    asked = Asked()
    driven = asyncio.run(Driver(amounts(requests=40), asked).open(1000.0, 1))
    assert phases(driven) == "m" * 40
    assert asked.most > 2


def test_a_duration_ends_what_is_measured() -> None:
    driven = asyncio.run(Driver(amounts(requests=None, duration_s=0.1, warmup=1), Asked()).closed(2))
    measured = [shot.due for shot in driven.shots if shot.phase == "measured"]
    assert 0.05 < measured[-1] - measured[0] < 0.1


@pytest.mark.parametrize("rate", [None, 500.0])
def test_a_server_that_only_fails_is_given_up(rate: float | None) -> None:
    driver = Driver(amounts(requests=1000), Asked(range(2000)))
    driven = asyncio.run(driver.closed(1) if rate is None else driver.open(rate, 1))
    assert GIVE_UP_AFTER <= sum(shot.failed for shot in driven.shots) <= GIVE_UP_AFTER + 5


def test_a_few_failures_are_part_of_the_load() -> None:
    driven = asyncio.run(Driver(amounts(requests=20), Asked(range(3, 6))).closed(1))
    assert sum(shot.failed for shot in driven.shots) == 3
    assert len(driven.shots) == 20


def test_a_bug_in_what_asks_comes_out() -> None:
    async def broken(shot: Shot) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(Driver(amounts(), broken).closed(2))


def test_a_loop_that_is_held_up_says_so() -> None:
    async def hog(shot: Shot) -> bool:
        await asyncio.sleep(0)
        end = time.perf_counter() + 0.03
        while time.perf_counter() < end:
            pass
        return True

    driven = asyncio.run(Driver(amounts(), hog).closed(1))
    lag = lag_of(driven, {}, is_open=False, ttft_s=0.1)
    assert lag["mattered"]
    assert "the load generator itself was late" in lag["said"]


def test_a_lag_that_is_small_beside_what_is_measured_does_not_matter() -> None:
    assert not lag_of(Driven(late=[0.001, 0.0015]), {}, is_open=False, ttft_s=0.01)["mattered"]
    assert not lag_of(Driven(late=[0.008, 0.009]), {}, is_open=False, ttft_s=1.0)["mattered"]
    assert lag_of(Driven(late=[0.008, 0.009]), {}, is_open=False, ttft_s=0.1)["mattered"]
    late = Driven([Shot(0, "measured", 1.0)], [0.0])
    assert lag_of(late, {0: 1.5}, is_open=True, ttft_s=0.1)["max"] == 0.5
