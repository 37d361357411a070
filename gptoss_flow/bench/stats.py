"""Percentiles and how far they can be trusted. Pure; every interval is a bootstrap, seeded, at 95 %.

A bootstrap of a percentile need not draw samples: which of the sorted values it lands on does not depend on what
they are, and the k-th smallest of n draws has a known distribution. So one set of draws serves all metrics.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate

from gptoss_flow.events import Json
from gptoss_flow.trials import STATISTICS

RESAMPLES = 1000
CONFIDENCE = 0.95
PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
MOST_GAPS = 5000
"""Of so many gaps between tokens an interval is made."""

Interval = tuple[float, float]


def percentile(ordered: Sequence[float], share: float) -> float:
    """By linear interpolation between the two nearest of these sorted values, as numpy and spreadsheets do."""
    at = (len(ordered) - 1) * share
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)


def summarize(values: Sequence[float]) -> dict[str, Json]:
    """n, percentiles, min, max, mean, and `interval` for each percentile and the mean. Of no value: n alone."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0}
    statistics = {name: percentile(ordered, share) for name, share in PERCENTILES.items()}
    mean = math.fsum(ordered) / len(ordered)
    intervals = {name: interval_of_percentile(ordered, share) for name, share in PERCENTILES.items()}
    intervals["mean"] = _interval_of_mean(ordered, mean)
    return _told(len(ordered), {**statistics, "min": ordered[0], "max": ordered[-1], "mean": mean}, intervals)


def summarize_groups(groups: Sequence[Sequence[float]], seed: int = 0) -> dict[str, Json]:
    """The same for values that come in groups and are alike within each: gaps between the tokens of answers.

    Whole groups are drawn for the intervals: a thousand gaps of ten answers tell no more than ten answers do.
    """
    told = summarize([value for group in groups for value in group])
    if not told["n"]:
        return told
    step = max(1, told["n"] // MOST_GAPS)
    pairs = sorted((value, at) for at, group in enumerate(groups) for value in group[::step])
    draw = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in (*PERCENTILES, "mean")}
    for _ in range(RESAMPLES // 5):
        weights = [0] * len(groups)
        for at in draw.choices(range(len(groups)), k=len(groups)):
            weights[at] += 1
        sums = list(accumulate(weights[at] for _, at in pairs))
        if not sums[-1]:
            continue
        for name, share in PERCENTILES.items():
            found[name].append(pairs[bisect_left(sums, max(1, share * sums[-1]))][0])
        found["mean"].append(math.fsum(value * weights[at] for value, at in pairs) / sums[-1])
    told["interval"] = {name: _rounded(between(values)) for name, values in found.items() if values}
    return told


def _told(n: int, statistics: Mapping[str, float], intervals: Mapping[str, Interval]) -> dict[str, Json]:
    told: dict[str, Json] = {"n": n}
    told |= {name: round(statistics[name], 6) for name in STATISTICS}
    told["interval"] = {name: _rounded(interval) for name, interval in intervals.items()}
    return told


def _rounded(interval: Interval) -> list[float]:
    return [round(end, 6) for end in interval]


def between(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The middle part of these values."""
    ordered = sorted(values)
    rest = (1 - confidence) / 2
    return percentile(ordered, rest), percentile(ordered, 1 - rest)


def interval_of_percentile(ordered: Sequence[float], share: float) -> Interval:
    """Where a percentile of these sorted values lies, had others like them been measured."""
    return between(
        [ordered[low] + (ordered[high] - ordered[low]) * part for low, high, part in _draws(len(ordered), share)]
    )


@lru_cache(maxsize=64)
def _draws(n: int, share: float) -> tuple[tuple[int, int, float], ...]:
    """Of n sorted values, the two that a percentile of n draws lies between, and where: for each resample.

    The k-th smallest of n uniform draws is Beta(k, n + 1 - k); the next one takes Beta(1, n - k) of the rest.
    """
    draw = random.Random(f"{n} {share}")
    at = (n - 1) * share
    below, part = math.floor(at), at - math.floor(at)
    found = []
    for _ in range(RESAMPLES):
        low = draw.betavariate(below + 1, n - below)
        high = low + (1 - low) * draw.betavariate(1, n - below - 1) if part and below + 1 < n else low
        found.append((min(int(low * n), n - 1), min(int(high * n), n - 1), part))
    return tuple(found)


def _interval_of_mean(values: Sequence[float], mean: float) -> Interval:
    """From draws; of many values it is normal, and known."""
    n = len(values)
    if n > 200:
        error = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
        return mean - 1.96 * error, mean + 1.96 * error
    draw = random.Random(n)
    return between([math.fsum(draw.choices(values, k=n)) / n for _ in range(RESAMPLES)])


def resampled(
    blocks: Sequence[Sequence[float]], statistic: Callable[[Sequence[float]], float], seed: int
) -> list[float]:
    """The statistic of as many blocks, drawn again and again. Values of one block stay together: what they share
    (a busy minute, a warm cache) must not pass for certainty."""
    draw = random.Random(seed)
    n = sum(map(len, blocks))
    times = max(200, min(RESAMPLES, 2_000_000 // max(1, n)))
    return [
        statistic(sorted(value for block in draw.choices(blocks, k=len(blocks)) for value in block))
        for _ in range(times)
    ]


def blocks_of(values: Sequence[float]) -> list[list[float]]:
    """Values in the order in which they were measured, cut into blocks of about the cube root of their number."""
    size = max(1, round(len(values) ** (1 / 3)))
    return [list(values[at : at + size]) for at in range(0, len(values), size)]


def statistic_of(name: str) -> Callable[[Sequence[float]], float]:
    """A statistic by its name, of sorted values."""
    if name in PERCENTILES:
        return lambda ordered: percentile(ordered, PERCENTILES[name])
    return {
        "min": lambda ordered: ordered[0],
        "max": lambda ordered: ordered[-1],
        "mean": lambda ordered: math.fsum(ordered) / len(ordered),
    }[name]
