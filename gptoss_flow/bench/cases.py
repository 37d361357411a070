"""From requests to a trial's metrics, and from the trials of several rounds to those of one case. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_flow.bench.samples import COLUMNS, TIMES, Sample
from gptoss_flow.bench.stats import percentile, summarize, summarize_groups
from gptoss_flow.events import Json
from gptoss_flow.trials import METRICS, OF_A_START, Level, metric_of

Trial = dict[str, Json]

MOST_ROWS = 2000
"""Requests of a trial that stand on record one by one; of more, every second, third …"""
SKETCH = 101
"""Of the gaps between tokens a trial keeps so many percentiles."""


def measured(samples: Sequence[Sample], window: Mapping[str, float], counts: Mapping[str, int]) -> Trial:
    """What a trial's measured requests come to, and what is kept of them.

    `window`: `began` (`time.perf_counter()`), `s`, and the `tokens` that came in it. `counts`: errors.
    """
    rows = [each.row(window["began"]) for each in samples]
    gaps = sorted(gap for each in samples for gap in each.gaps)
    keep = -(-len(rows) // MOST_ROWS) or 1
    trial: Trial = {
        "n": len(samples),
        "errors": counts["errors"],
        "window_s": round(window["s"], 6),
        "window_tokens": int(window["tokens"]),
        "samples": {"columns": list(COLUMNS), "rows": rows[::keep]},
        "itl": [round(percentile(gaps, at / (SKETCH - 1)), 6) for at in range(SKETCH)] if gaps else [],
    }
    metrics = _metrics(rows, [trial])
    if gaps:
        metrics["itl"] = summarize_groups([each.gaps for each in samples])
    return trial | {"metrics": metrics}


def _metrics(rows: Sequence[Sequence[Any]], trials: Sequence[Mapping[str, Any]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for at, name in enumerate(COLUMNS):
        if name in TIMES and (values := [row[at] for row in rows if row[at] is not None]):
            found[name] = summarize(values)
    ttft, tpot, prompt, cached = (
        COLUMNS.index(name) for name in ("ttft", "tpot", "prompt_tokens", "cached_tokens")
    )
    derived = {
        "client_prefill_tps": [(row[prompt] - row[cached]) / row[ttft] for row in rows if row[ttft]],
        "client_decode_tps": [1 / row[tpot] for row in rows if row[tpot]],
    }
    found |= {name: summarize(values) for name, values in derived.items() if values}
    n, errors = (sum(trial[name] for trial in trials) for name in ("n", "errors"))
    took = sum(trial["window_s"] for trial in trials)
    if took > 0 and n:
        found["aggregate_tps"] = round(sum(trial["window_tokens"] for trial in trials) / took, 6)
        # In requests as in tokens: counted by their ends, a few that end together would tip the balance.
        tokens = COLUMNS.index("tokens")
        if mean := sum(row[tokens] for row in rows) / len(rows):
            found["request_rate"] = round(found["aggregate_tps"] / mean, 6)
    if n + errors:
        found["error_rate"] = round(errors / (n + errors), 6)
    return found


def add_start(trial: Trial, start: Mapping[str, float]) -> None:
    """The cold start of the server, where it was started for this trial."""
    trial["metrics"] |= {name: round(value, 6) for name, value in start.items()}


def add_goodput(trial: Trial, levels: Sequence[Level], trials: Sequence[Mapping[str, Any]]) -> None:
    """Requests a second that meet every level that is about requests; absent where there is none."""
    limits = [(metric_of(level.figure)[0].name, level) for level in levels]
    limits = [(name, level) for name, level in limits if not METRICS[name].is_single]
    rate = trial["metrics"].get("request_rate")
    if not limits or rate is None:
        return
    rows = [row for each in trials for row in each["samples"]["rows"]]
    good = sum(all(_meets(row, name, level) for name, level in limits) for row in rows)
    trial["metrics"]["goodput"] = round(rate * good / len(rows), 6) if rows else 0.0


def _meets(row: Sequence[Any], name: str, level: Level) -> bool:
    values = dict(zip(COLUMNS, row, strict=True))
    if values["tpot"]:
        values |= {"itl": values["tpot"], "client_decode_tps": 1 / values["tpot"]}
    if values["ttft"]:
        values["client_prefill_tps"] = (values["prompt_tokens"] - values["cached_tokens"]) / values["ttft"]
    value = values.get(name)
    return value is not None and level.is_met_by(value)


def case_of(trials: Sequence[Trial], levels: Sequence[Level]) -> Trial:
    """The trials of one load on one cell, all rounds together. `samples` are those of each round."""
    first, whole = trials[0], [trial for trial in trials if not trial.get("error")]
    case: Trial = {
        name: first[name] for name in ("label", "load", "concurrency", "rate", "profile") if name in first
    }
    case |= {"rounds": len(trials), "n": sum(trial["n"] for trial in trials)}
    case["errors"] = sum(trial["errors"] for trial in trials)
    case["error_kinds"] = _sums([trial["error_kinds"] for trial in trials])
    if len(whole) < len(trials):
        case["error"] = next(trial["error"] for trial in trials if trial.get("error"))
    case["metrics"] = dict(whole[0]["metrics"]) if len(whole) == 1 else _pooled(whole)
    add_goodput(case, levels, whole)
    case["lag"] = max((trial["lag"] for trial in whole), key=lambda lag: lag["p95"], default=None)
    case["samples"] = [trial["samples"] for trial in whole]
    if whole:
        case |= {name: whole[0][name] for name in ("fingerprint", "server", "changes")}
    return case


def _pooled(trials: Sequence[Trial]) -> dict[str, Json]:
    if not trials:
        return {}
    found = _metrics([row for trial in trials for row in trial["samples"]["rows"]], trials)
    if any(trial["itl"] for trial in trials):
        found["itl"] = summarize_groups([trial["itl"] for trial in trials])
        found["itl"]["n"] = sum(trial["metrics"].get("itl", {"n": 0})["n"] for trial in trials)
    for name in OF_A_START:
        if values := sorted(trial["metrics"][name] for trial in trials if name in trial["metrics"]):
            found[name] = percentile(values, 0.5)
    return found


def _sums(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            found[name] = found.get(name, 0) + number
    return found
