from __future__ import annotations

import random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.bench.stats import (
    between,
    blocks_of,
    interval_of_percentile,
    percentile,
    resampled,
    statistic_of,
    summarize,
    summarize_groups,
)

numbers = st.lists(st.floats(0, 1e6), min_size=2, max_size=60)


@given(numbers, st.integers(1, 99))
def test_a_percentile_is_that_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = quantiles(values, n=100, method="inclusive")[percent - 1]
    assert percentile(sorted(values), percent / 100) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(numbers)
def test_what_is_told_is_in_order_and_its_intervals_hold_it(values: list[float]) -> None:
    told = summarize(values)
    shares = [told[name] for name in ("min", "p50", "p90", "p95", "p99", "max")]
    assert shares == sorted(shares)
    for name, (low, high) in told["interval"].items():
        assert told["min"] - 1e-6 <= low <= high <= told["max"] + 1e-6, name


def test_of_nothing_nothing_is_told_but_that() -> None:
    assert summarize([]) == {"n": 0}
    assert summarize_groups([[], []]) == {"n": 0}
    assert summarize([3.0])["interval"]["p95"] == [3.0, 3.0]


def test_the_interval_of_a_percentile_is_that_of_a_bootstrap_that_draws() -> None:
    draw = random.Random(3)
    ordered = sorted(draw.expovariate(1) for _ in range(40))
    for share in (0.5, 0.9):
        drawn = [percentile(sorted(draw.choices(ordered, k=40)), share) for _ in range(4000)]
        wanted, got = between(drawn), interval_of_percentile(ordered, share)
        assert got == pytest.approx(wanted, rel=0.15)


def test_an_interval_holds_the_truth_19_times_in_20() -> None:
    draw, held = random.Random(5), 0
    for _ in range(300):
        low, high = summarize([draw.gauss(10, 2) for _ in range(50)])["interval"]["p50"]
        held += low <= 10 <= high
    assert held >= 300 * 0.92


def test_groups_are_drawn_whole() -> None:
    """A thousand gaps of ten answers, each answer at its own pace, tell no more than ten answers do."""
    draw = random.Random(1)
    groups = [[draw.gauss(pace, 0.0001) for _ in range(100)] for pace in (0.01 + 0.002 * n for n in range(10))]
    low, high = summarize_groups(groups)["interval"]["mean"]
    alone = summarize([gap for group in groups for gap in group])["interval"]["mean"]
    assert high - low > 5 * (alone[1] - alone[0])


def test_blocks_keep_the_order_and_all_values() -> None:
    values = [float(n) for n in range(30)]
    blocks = blocks_of(values)
    assert [value for block in blocks for value in block] == values
    assert {len(block) for block in blocks} == {3}
    assert (
        between(resampled(blocks, statistic_of("mean"), 1))[0]
        < 14.5
        < between(resampled(blocks, statistic_of("mean"), 1))[1]
    )
