"""What a bench says of a server's answers, held against what that server itself kept of them (see `truth`)."""

from __future__ import annotations

from statistics import fmean, quantiles
from typing import Any


def close(measured: float, true: float) -> bool:
    return abs(measured - true) <= max(0.002, 0.02 * abs(true))


def share(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def figures(measured: list[dict[str, Any]]) -> dict[str, float]:
    """What the server's own times come to, of the requests that were measured."""
    answers = [each for each in measured if not each["error"]]
    firsts = [each["wrote"][0][0] - each["read"] for each in answers]
    lasts = [each["wrote"][-1][0] - each["read"] for each in answers]
    counts = [sum(n for _, n in each["wrote"]) for each in answers]
    tpots = [
        (each["wrote"][-1][0] - each["wrote"][0][0]) / (n - 1) for each, n in zip(answers, counts, strict=True)
    ]
    gaps = [
        (at - before) / n
        for each in answers
        for (before, _), (at, n) in zip(each["wrote"], each["wrote"][1:], strict=False)
        for _ in range(n)
    ]
    gaps += [0.0 for each in answers for _ in range(each["wrote"][0][1] - 1)]
    found = {}
    for name, values in (("ttft", firsts), ("latency", lasts), ("tpot", tpots), ("itl", gaps)):
        found |= {
            f"{name}_p50": share(values, 50),
            f"{name}_p90": share(values, 90),
            f"{name}_p95": share(values, 95),
        }
        found |= {f"{name}_mean": fmean(values), f"{name}_min": min(values), f"{name}_max": max(values)}
    began = min(each["read"] for each in answers)
    ended = max(each["wrote"][-1][0] for each in answers)
    found["aggregate_tps"] = sum(counts) / (ended - began)
    found["request_rate"] = len(answers) / (ended - began)
    found["error_rate"] = 1 - len(answers) / len(measured)
    found["prefill_tps_p50"] = 400.0
    return found


def value(trial: dict[str, Any], figure: str) -> float:
    name, _, statistic = figure.rpartition("_")
    found = trial["metrics"][name][statistic] if name in trial["metrics"] else trial["metrics"][figure]
    return float(found)


def strayed(trial: dict[str, Any], truth: list[dict[str, Any]]) -> dict[str, tuple[float, float]]:
    """The figures that are off by more than 2 % and 2 ms, each with what is true."""
    return {
        name: (value(trial, name), was)
        for name, was in figures(truth).items()
        if not close(value(trial, name), was)
    }
