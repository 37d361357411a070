"""Every figure against a server that keeps its own times: within 2 % or 2 ms of the truth."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gptoss_flow.trials import BenchRequest, Level, Load
from tests.bench.figures import strayed, value
from tests.bench.made import Bench, request
from tests.bench.truth import Program, truthful

Told = tuple[dict[str, Any], list[dict[str, Any]]]


def measured(program: Program, asked: BenchRequest) -> Told:
    """A trial, and what the server says of it."""

    async def run() -> Told:
        async with truthful(program) as server:
            bench = Bench(server.url)
            await bench.measure(asked)
            return bench.trials[0].trial | {"metrics": bench.judged[0].trials[0]["metrics"]}, server.truth

    return asyncio.run(run())


def off(program: Program, **more: Any) -> dict[str, tuple[float, float]]:
    """The figures that are not close to the truth, each with it.

    But for the largest ones: for these it is enough that this process is kept waiting once between the server's
    clock and the client's. `tests.benchmarks.accuracy` counts them.
    """
    asked = request(warmup=0, cooldown=0, levels=(Level("ttft_p50", "<=", 0.125),), **more)
    trial, truth = measured(program, asked)
    wrong = {name: pair for name, pair in strayed(trial, truth).items() if not name.endswith("_max")}
    # A request whose first token came within 2 ms of the level may be counted either way.
    firsts = [each["wrote"][0][0] - each["read"] for each in truth if not each["error"]]
    least, most = (sum(first <= limit for first in firsts) / len(firsts) for limit in (0.123, 0.127))
    share_of_good = value(trial, "goodput") / value(trial, "request_rate")
    return wrong if least - 1e-6 <= share_of_good <= most + 1e-6 else wrong | {"goodput": (share_of_good, least)}


@pytest.mark.parametrize(
    ("bursts", "concurrency"), [((1,), 2), ((1, 3, 1, 2, 4, 1), 8)], ids=["singly", "in bursts"]
)
def test_a_closed_loop_with_an_error_in_fifty(bursts: tuple[int, ...], concurrency: int) -> None:
    assert off(Program(error_every=50, bursts=bursts), requests=50, loads=(Load(concurrency=concurrency),)) == {}


def test_an_open_loop() -> None:
    assert off(Program(), requests=40, loads=(Load(rate=8.0),)) == {}


def test_what_warms_up_and_cools_down_is_dropped_and_the_load_stays() -> None:
    asked = request(requests=12, warmup=4, loads=(Load(concurrency=4),))
    trial, truth = measured(Program(), asked)
    dropped = trial["dropped"]
    assert (trial["n"], dropped["warmup"], dropped["errors"]) == (12, 4, 0)
    assert 1 <= dropped["cooldown"] <= 4
    assert 16 <= len(truth) <= 16 + dropped["cooldown"]  # one may be called off before it is sent
    # Four at once: the end of the measurement is no quieter than its middle, whatever an answer took.
    latency = value(trial, "latency_mean")
    assert value(trial, "aggregate_tps") == pytest.approx(4 * 12 / latency, rel=0.08)
    assert value(trial, "request_rate") == pytest.approx(4 / latency, rel=0.08)
