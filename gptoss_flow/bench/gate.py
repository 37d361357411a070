"""Whether trials are good enough: service levels, and a baseline that they must not be worse than. Pure.

A regression is one only if the figure is worse by more than is allowed and its interval leaves no room for less:
a bootstrap of the ratio of the two measurements, over blocks of requests that were measured together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptoss_flow.bench.samples import COLUMNS
from gptoss_flow.bench.stats import between, blocks_of, resampled, statistic_of
from gptoss_flow.events import Json
from gptoss_flow.trials import OF_A_START, Level, metric_of, value_of

Case = Mapping[str, Json]
"""A load on a cell, all rounds together, with the `samples` of each round."""
Verdict = dict[str, Json]

CONFIDENCE = 0.90
"""Of the interval whose better end must be beyond what is allowed: one-sided, 95 %."""
LEAST = 5
"""Requests on either side; with less nothing can be said."""
MOST = 1000.0
"""By which factor a resampled figure is worse at most: one may be nothing, and its factor no number."""


def shown(figure: str, value: float | None) -> str:
    """A figure with its unit."""
    if value is None:
        return "unknown"
    unit = metric_of(figure)[0].unit
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 10 else f"{value:.2f} s"
    return f"{value:.4g}/s" if unit == "/s" else f"{value:.2%}"


def judge_levels(case: Case, levels: Sequence[Level]) -> list[Verdict]:
    """A verdict for each service level. A figure that could not be measured does not meet it."""
    return [_level_verdict(case, level) for level in levels]


def _level_verdict(case: Case, level: Level) -> Verdict:
    value, error = value_of(case, level.figure), case.get("error")
    ok = value is not None and level.is_met_by(value) and not error
    asked = f"{level.comparison} {shown(level.figure, level.value)}"
    if error:
        said = f"{case['label']}: {level.figure} is not known: {error}"
    else:
        said = f"{case['label']}: {level.figure} is {shown(level.figure, value)}, {'as' if ok else 'not'} {asked}"
        if value is None and level.figure in OF_A_START:
            said += ": the server was running already; stop it first (gptoss-flow server stop)"
    return {
        "kind": "slo", "figure": level.figure, "trial": case["label"], "ok": ok, "value": value,
        "limit": level.value, "comparison": level.comparison, "said": said,
    }  # fmt: skip


def judge_regressions(case: Case, before: Case | None, allowed: Mapping[str, float]) -> list[Verdict]:
    """A verdict for each figure that must not be worse than `before` by more than a share of it."""
    return [_regression_verdict(case, before, figure, share) for figure, share in allowed.items()]


def _regression_verdict(case: Case, before: Case | None, figure: str, allowed: float) -> Verdict:
    verdict: Verdict = {"kind": "regression", "figure": figure, "trial": case["label"], "allowed": allowed}
    now = value_of(case, figure)
    was = value_of(before, figure) if before is not None else None
    verdict |= {"value": now, "baseline": was, "change": None, "interval": None}
    if before is None or was is None or now is None:
        missing = "the baseline has no such trial" if before is None else "it is not known on both sides"
        return verdict | {"ok": False, "said": f"{case['label']}: {figure} cannot be compared: {missing}"}
    is_lower_better = metric_of(figure)[0].better == "lower"
    ratio = worse(now, was, is_lower_better)
    ratios = _ratios(case, before, figure, is_lower_better)
    low, high = between(ratios, CONFIDENCE) if ratios else (ratio, ratio)
    told = f"{figure} is {shown(figure, now)} and was {shown(figure, was)}"
    if not math.isfinite(ratio):
        return verdict | {"ok": False, "said": f"{case['label']}: {told}: worse than can be said in percent"}
    is_worse = ratio > 1 + allowed and low > 1 + allowed
    told += f": {abs(ratio - 1):.1%} {'worse' if ratio > 1 else 'better'}"
    within = f"(between {low - 1:+.1%} and {high - 1:+.1%})" if ratios else "(too few requests for an interval)"
    verdict |= {
        "change": round(ratio - 1, 6),
        "interval": [round(low - 1, 6), round(high - 1, 6)] if ratios else None,
    }
    limit = f"{'more than' if is_worse else 'not for certain more than'} the {allowed:.0%} that are allowed"
    said = f"{case['label']}: {told} {within}, {limit}"
    return verdict | {"ok": not is_worse, "said": said}


def worse(now: float, was: float, is_lower_better: bool) -> float:
    """By which factor it is worse; below 1 it is better."""
    above, below = (now, was) if is_lower_better else (was, now)
    if below == 0:
        return 1.0 if above == 0 else math.inf
    return above / below


def _ratios(case: Case, before: Case, figure: str, is_lower_better: bool) -> list[float]:
    """The factor, resampled; empty where there are too few requests, or the figure is one number a trial."""
    metric, statistic = metric_of(figure)
    sides = []
    for seed, side in enumerate((case, before)):
        if statistic is not None and metric.name in COLUMNS:
            rounds = [_column(samples, metric.name) for samples in side["samples"]]
            values = _resampled(rounds, statistic_of(statistic), seed)
        elif metric.name == "aggregate_tps":
            values = _resampled([_costs(samples) for samples in side["samples"]], statistic_of("mean"), seed)
            values = [1 / value for value in values if value]
        else:
            values = []
        sides.append(values)
    factors = (worse(now, was, is_lower_better) for now, was in zip(*sides, strict=False))
    return [min(factor, MOST) for factor in factors]


def _resampled(
    rounds: Sequence[Sequence[float]], statistic: Callable[[Sequence[float]], float], seed: int
) -> list[float]:
    if sum(map(len, rounds)) < LEAST:
        return []
    blocks = [list(each) for each in rounds if each]
    if len(blocks) < LEAST:  # too few rounds to draw whole ones
        blocks = [block for each in rounds for block in blocks_of(each)]
    return resampled(blocks, statistic, seed)


def _column(samples: Mapping[str, Any], name: str) -> list[float]:
    at = list(samples["columns"]).index(name)
    return [row[at] for row in samples["rows"] if row[at] is not None]


def _costs(samples: Mapping[str, Any]) -> list[float]:
    """Seconds for each token, of each request: what a closed loop's throughput is made of."""
    columns = list(samples["columns"])
    latency, tokens = columns.index("latency"), columns.index("tokens")
    return [row[latency] / row[tokens] for row in samples["rows"] if row[latency] and row[tokens]]
