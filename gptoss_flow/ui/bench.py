"""A bench as text: a line for each trial as it ends, and a table of all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_flow.events import Json
from gptoss_flow.record.state import RunState
from gptoss_flow.trials import metric_of, value_of
from gptoss_flow.ui.table import table
from gptoss_flow.words import count

HEAD = (
    ("ttft_p50", "TTFT p50"), ("ttft_p95", "p95"), ("itl_p50", "ITL p50"), ("itl_p95", "p95"),
    ("latency_p50", "latency p50"), ("latency_p95", "p95"), ("prefill_tps_p50", "prefill/s"),
    ("decode_tps_p50", "decode/s"), ("aggregate_tps", "all/s"),
)  # fmt: skip
"""The figures of the table, each with its heading."""
SOMETIMES = (("ttfo_p50", "TTFO p50"), ("goodput", "goodput/s"), ("load_s", "load"), ("ready_s", "ready"))
"""Those that only some trials have."""
TOLD = (
    ("ttft_p50", "TTFT"), ("latency_p50", "latency"), ("decode_tps_p50", "decode/s"), ("aggregate_tps", "all/s"),
)  # fmt: skip
"""What is told of a trial when it ends."""


def figure(trial: Mapping[str, Json], name: str) -> str:
    """A figure in the unit that people read, empty where it is not known."""
    value = value_of(trial, name)
    if value is None:
        return ""
    unit = metric_of(name)[0].unit
    if unit == "s":
        return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.2%}" if unit == "share" else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def told_trial(trial: Mapping[str, Any]) -> str:
    """A trial in a line."""
    said = [f"trial {trial.get('label')}: {trial.get('n')} requests"]
    if trial.get("errors"):
        said.append(f"{trial['errors']} errors")
    if trial.get("error"):
        return f"trial {trial.get('label')}: {trial['error']}"
    for name, word in TOLD:
        if shown := figure(trial, name):
            said.append(f"{word} {shown}")
    return ", ".join(said)


def told_verdicts(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the gates say no to, and how many say yes."""
    kept = sum(bool(verdict.get("ok")) for verdict in verdicts)
    said = [str(verdict.get("said")) for verdict in verdicts if not verdict.get("ok")]
    return [*said, *([f"{kept} of {count(len(verdicts), 'gate')} held"] if verdicts else [])]


def columns(trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The figures worth showing of these trials, each with its heading."""
    some = [pair for pair in SOMETIMES if any(figure(trial, pair[0]) for trial in trials)]
    if all(figure(trial, "ttfo_p50") == figure(trial, "ttft_p50") for trial in trials):
        some = [pair for pair in some if pair[0] != "ttfo_p50"]  # a model that does not reason
    return [*HEAD, *some]


def bench_table(trials: Sequence[Mapping[str, Any]]) -> str:
    """All trials, one a line."""
    shown = columns(trials)
    head = ["trial", "n", "errors", *(title for _, title in shown)]
    rows = [
        [
            str(trial.get("label")),
            str(trial.get("n")),
            str(trial.get("errors")),
            *(figure(trial, name) for name, _ in shown),
        ]
        for trial in trials
    ]
    return table(head, rows)


@dataclass(frozen=True, slots=True)
class Measured:
    """A bench step, as far as it came. `trials` are those of all rounds together, once all have ended."""

    step: str
    trials: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any] | None
    outcome: str | None
    error: Mapping[str, Any] | None


def benches_of(state: RunState) -> list[Measured]:
    """Every bench of a run that has a result, or failed without one."""
    found: list[Measured] = []
    todo = [*state.steps.values()]
    while todo:
        step = todo.pop(0)
        todo = [*step.items.values(), *todo]
        judged = step.judged
        if judged is None and not step.trials:
            continue
        trials = judged.trials if judged else [step.trials[number] for number in sorted(step.trials)]
        found.append(
            Measured(
                step.id,
                [trial for trial in trials if isinstance(trial, dict)],
                judged.verdicts if judged else [],
                judged.best if judged else None,
                step.outcome,
                step.error,
            )
        )
    return found


def draw_table(benches: Sequence[Measured]) -> str:
    """For people: a table for each bench, what its gates say, the best profile."""
    parts = []
    for bench in benches:
        lines = [f"{bench.step}: {bench.outcome or 'unfinished'}", bench_table(bench.trials)]
        lines += told_verdicts(bench.verdicts)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n" if parts else ""


def draw_json(benches: Sequence[Measured]) -> str:
    return json.dumps([_as_json(bench) for bench in benches], indent=2, ensure_ascii=False) + "\n"


def _as_json(bench: Measured) -> dict[str, Json]:
    return {
        "step": bench.step,
        "outcome": bench.outcome,
        "error": dict(bench.error) if bench.error else None,
        "trials": [{name: value for name, value in trial.items() if name != "samples"} for trial in bench.trials],
        "verdicts": [dict(verdict) for verdict in bench.verdicts],
        "best": dict(bench.best) if bench.best else None,
    }


FORMS: dict[str, Callable[[Sequence[Measured]], str]] = {"table": draw_table, "json": draw_json}
