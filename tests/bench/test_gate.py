from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from gptoss_flow.bench.cases import case_of, measured
from gptoss_flow.bench.gate import judge_levels, judge_regressions, worse
from gptoss_flow.bench.samples import Sample
from gptoss_flow.steps.bench import DEFAULT_REQUESTS
from gptoss_flow.trials import GATED, Level

ALLOWED = dict.fromkeys(GATED, 0.10)
"""`max_regression: 10%`, the default."""


def sample(sent: float, ttft: float, tpot: float, tokens: int = 64) -> Sample:
    latency = ttft + tpot * (tokens - 1)
    values = {"ttft": ttft, "ttfo": ttft, "tpot": tpot, "latency": latency, "decode_tps": 1 / tpot}
    return Sample(sent, sent + latency, 100, 0, tokens, values)


def case(samples: Sequence[Sample], levels: Sequence[Level] = (), errors: int = 0) -> dict[str, Any]:
    took = sum(each.last - each.sent for each in samples)
    tokens = sum(each.tokens for each in samples)
    window = {"began": 0.0, "s": took, "tokens": tokens}
    trial = measured(samples, window, {"errors": errors})
    lag = {"p50": 0.0, "p95": 0.0, "max": 0.0, "mattered": False, "said": ""}
    more = {"label": "concurrency 1", "load": "l", "profile": {}, "error_kinds": {}, "lag": lag}
    return case_of([trial | more | {"fingerprint": {}, "server": {}, "changes": {}}], levels)


def a_run(seed: int, slower: float = 1.0) -> dict[str, Any]:
    """Requests as they are on a shared machine: each a little different, in waves that last, and the whole run a
    little faster or slower than another one of the same server."""
    draw = random.Random(seed)
    of_run, wave, samples = draw.gauss(1.0, 0.015), 0.0, []
    for number in range(DEFAULT_REQUESTS):
        wave = 0.6 * wave + draw.gauss(0.0, 0.015)
        pace = slower * of_run * (1 + wave)
        ttft = 0.120 * pace * draw.uniform(0.85, 1.15)
        samples.append(sample(number * 1.5, ttft, 0.020 * pace * draw.gauss(1.0, 0.02)))
    return case(samples)


def fails(now: dict[str, Any], before: dict[str, Any]) -> bool:
    return any(not verdict["ok"] for verdict in judge_regressions(now, before, ALLOWED))


def test_the_same_profile_twice_passes_and_one_15_percent_slower_fails() -> None:
    """At the default number of requests: 19 of 20 times, and rather more, so that the claim is no accident."""
    pairs = [(2 * n, 2 * n + 1) for n in range(60)]
    before = [a_run(was) for was, _ in pairs]
    false_alarms = sum(fails(a_run(now), was) for (_, now), was in zip(pairs, before, strict=True))
    found = sum(fails(a_run(now, 1.15), was) for (_, now), was in zip(pairs, before, strict=True))
    assert false_alarms <= len(pairs) / 20
    assert found >= len(pairs) * 19 / 20


def test_a_regression_within_what_is_allowed_passes() -> None:
    assert not any(fails(a_run(2 * n, 1.05), a_run(2 * n + 1)) for n in range(20))


def test_an_improvement_is_none() -> None:
    [verdict] = judge_regressions(a_run(1, 0.5), a_run(2), {"tpot_p50": 0.1})
    assert verdict["ok"]
    assert verdict["change"] < -0.4
    assert "better" in verdict["said"]


def test_a_rate_is_worse_when_it_is_lower() -> None:
    [verdict] = judge_regressions(a_run(1, 1.5), a_run(2), {"decode_tps_p50": 0.1})
    assert not verdict["ok"]
    assert verdict["change"] == pytest.approx(0.5, abs=0.1)
    low, high = verdict["interval"]
    assert 0.1 < low < verdict["change"] < high


def test_what_is_slow_by_chance_is_no_regression() -> None:
    """Twenty percent worse, of five requests that differ by more than that."""
    before = case([sample(n, ttft, 0.02) for n, ttft in enumerate((0.05, 0.10, 0.12, 0.2, 0.3))])
    now = case([sample(n, ttft, 0.02) for n, ttft in enumerate((0.06, 0.12, 0.145, 0.2, 0.3))])
    [verdict] = judge_regressions(now, before, {"ttft_p50": 0.1})
    assert verdict["change"] == pytest.approx(0.208, abs=0.001)
    assert verdict["ok"]
    assert "not for certain more than the 10%" in verdict["said"]


@pytest.mark.parametrize("before", [None, case([sample(0, 0.1, 0.02)]) | {"metrics": {}}])
def test_what_cannot_be_compared_is_not_passed(before: Any) -> None:
    [verdict] = judge_regressions(a_run(1), before, {"ttft_p50": 0.1})
    assert not verdict["ok"]
    assert "cannot be compared" in verdict["said"]


def test_a_figure_of_which_nothing_is_known_meets_no_level() -> None:
    [verdict] = judge_levels(case([], errors=3), [Level("ttft_p95", "<=", 0.5)])
    assert not verdict["ok"]
    assert verdict["said"] == "concurrency 1: ttft_p95 is unknown, not <= 500.0 ms"


@pytest.mark.parametrize(
    ("level", "ok"),
    [
        (Level("ttft_p50", "<=", 0.12), True),
        (Level("ttft_p50", "<", 0.12), False),
        (Level("tpot_max", ">=", 0.02), True),
        (Level("decode_tps_p50", ">", 50.0), False),
        (Level("error_rate", "<=", 0.0), False),
        (Level("error_rate", "<=", 0.25), True),
    ],
)
def test_a_level_says_what_its_comparison_says(level: Level, ok: bool) -> None:
    [verdict] = judge_levels(case([sample(n, 0.12, 0.02) for n in range(3)], errors=1), [level])
    assert verdict["ok"] is ok


def test_goodput_counts_the_requests_that_meet_every_level() -> None:
    levels = [Level("ttft_p95", "<=", 0.2), Level("decode_tps_p50", ">", 40.0), Level("error_rate", "<=", 0.0)]
    samples = [sample(0, 0.1, 0.02), sample(1, 0.3, 0.02), sample(2, 0.1, 0.05), sample(3, 0.1, 0.02)]
    metrics = case(samples, levels)["metrics"]
    assert metrics["goodput"] == pytest.approx(metrics["request_rate"] * 2 / 4, rel=1e-5)
    assert "goodput" not in case(samples)["metrics"]


def test_worse_than_nothing() -> None:
    assert worse(0.0, 0.0, is_lower_better=True) == 1.0
    assert worse(0.1, 0.0, is_lower_better=True) == float("inf")


@pytest.mark.parametrize(("tpots", "is_told_in_percent"), [([0.0] * 16, False), ([0.0] * 7 + [0.01] * 9, True)])
def test_a_figure_that_was_nothing_is_compared_in_numbers_only(
    tpots: list[float], is_told_in_percent: bool
) -> None:
    """Tokens that came all at once: no time between them."""
    before, now = (
        case([Sample(i, i + 1.0, 10, 0, 8, {"tpot": tpot}) for i, tpot in enumerate(each)])
        for each in (tpots, [0.02] * 16)
    )
    (verdict,) = judge_regressions(now, before, {"tpot_p50": 0.10})
    assert not verdict["ok"]
    assert "inf" not in verdict["said"] and "nan" not in verdict["said"]
    assert (verdict["interval"] is not None) is is_told_in_percent
    json.dumps(verdict, allow_nan=False)


def test_a_start_that_did_not_happen_is_told_with_what_to_do() -> None:
    [verdict] = judge_levels(case([sample(0, 0.1, 0.01)]), [Level("ready_s", "<=", 300.0)])
    assert not verdict["ok"]
    assert verdict["said"].endswith("the server was running already; stop it first (gptoss-flow server stop)")
