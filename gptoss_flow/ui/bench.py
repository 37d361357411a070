"""A bench as text: a line for each trial as it ends, and a table of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_flow.events import Json
from gptoss_flow.record.state import RunState, StepView
from gptoss_flow.trials import metric_of, value_of
from gptoss_flow.ui.table import table
from gptoss_flow.words import count

HEAD = (
    ("ttft_p50", "TTFT p50"), ("ttft_p95", "p95"), ("itl_p50", "ITL p50"), ("itl_p95", "p95"),
    ("latency_p50", "latency p50"), ("latency_p95", "p95"), ("prefill_tps_p50", "prefill/s"),
    ("decode_tps_p50", "decode/s"), ("aggregate_tps", "all/s"),
)  # fmt: skip
"""The figures of the table, each with its heading. Rates of prefill and decode are the server's own."""
BESIDE = (
    ("prefill_tps_p50", "server prefill/s"), ("client_prefill_tps_p50", "client prefill/s"),
    ("decode_tps_p50", "server decode/s"), ("client_decode_tps_p50", "client decode/s"),
    ("prefill_p50", "prefill p50"), ("decode_p50", "decode p50"), ("queue_p50", "queue p50"), ("queue_p95", "p95"),
    ("tpot_p50", "TPOT p50"), ("request_rate", "requests/s"),
)  # fmt: skip
"""What the server timed, beside what its client did."""
SOMETIMES = (("ttfo_p50", "TTFO p50"), ("goodput", "goodput/s"), ("load_s", "load"), ("ready_s", "ready"))
"""Those that only some trials have."""
TOLD = (
    ("ttft_p50", "TTFT"), ("latency_p50", "latency"), ("decode_tps_p50", "decode/s"), ("aggregate_tps", "all/s"),
)  # fmt: skip
"""What is told of a trial when it ends."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A bench step, as far as it came. `trials` are those of all rounds together, once all have ended."""

    step: str
    trials: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Mapping[str, Any]]
    best: Mapping[str, Any] | None
    outcome: str | None
    error: Mapping[str, Any] | None
    reason: str = ""
    """Why it was skipped."""

    @property
    def why(self) -> str:
        """What became of it where no gate tells."""
        return str(self.error.get("message")) if self.error else self.reason


def measured(step: StepView) -> Measured | None:
    """What a step measured, if it is a bench that did."""
    judged, output = step.judged, step.output if step.kind == "bench" and isinstance(step.output, dict) else {}
    trials: Any
    verdicts: Any = []
    best: Any = None
    if judged is not None:
        trials, verdicts, best = judged.trials, judged.verdicts, judged.best
    elif step.trials:
        trials = [step.trials[number] for number in sorted(step.trials)]
    else:  # a result that was taken from an earlier run
        trials, verdicts, best = (output.get(name) for name in ("trials", "verdicts", "best"))
    if not (found := _mappings(trials)):
        return None
    return Measured(
        step.id, found, _mappings(verdicts), best if isinstance(best, dict) else None, step.outcome, step.error
    )


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def benches_of(state: RunState, *, all_of_them: bool = False) -> list[Measured]:
    """Every bench of a run that has a result, whatever became of it; `all_of_them`: those too that have none."""
    found: list[Measured] = []
    todo = [*state.steps.values()]
    while todo:
        step = todo.pop(0)
        todo = [*step.items.values(), *todo]
        if (bench := measured(step)) is not None:
            found.append(bench)
        elif all_of_them and step.kind == "bench" and step.item_count is None:
            found.append(Measured(step.id, [], [], None, step.outcome, step.error, step.reason))
    return found


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
    if trial.get("error"):
        return f"trial {trial.get('label')}: {trial['error']}"
    said = [f"trial {trial.get('label')}: {trial.get('n')} requests"]
    if trial.get("errors"):
        said.append(f"{trial['errors']} errors")
    said += [f"{word} {shown}" for name, word in TOLD if (shown := figure(trial, name))]
    return ", ".join(said)


def told_verdicts(verdicts: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the gates say no to, and how many say yes."""
    kept = sum(bool(verdict.get("ok")) for verdict in verdicts)
    said = [str(verdict.get("said")) for verdict in verdicts if not verdict.get("ok")]
    return [*said, *([f"{kept} of {count(len(verdicts), 'gate')} held"] if verdicts else [])]


def lags(trials: Iterable[Mapping[str, Any]]) -> list[str]:
    """Of which trials the load generator was too late, and how much: as the run warned of it."""
    found = [(trial.get("label"), trial["lag"]) for trial in trials if isinstance(trial.get("lag"), dict)]
    return [f"{label}: {lag['said']}" for label, lag in found if lag.get("said")]


def remarks(bench: Measured) -> list[str]:
    """What a reader of the figures must know."""
    said = lags(bench.trials)
    kinds = [(trial.get("label"), trial.get("error_kinds")) for trial in bench.trials]
    return said + [
        f"{label}: {kind}" + (f", {number} times" if number != 1 else "")
        for label, found in kinds
        for kind, number in (found.items() if isinstance(found, dict) else ())
    ]


def columns(trials: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The figures worth showing of these trials, each with its heading."""
    some = [pair for pair in SOMETIMES if any(figure(trial, pair[0]) for trial in trials)]
    if all(figure(trial, "ttfo_p50") == figure(trial, "ttft_p50") for trial in trials):
        some = [pair for pair in some if pair[0] != "ttfo_p50"]  # a model that does not reason
    return [*HEAD, *some]


def bench_table(trials: Sequence[Mapping[str, Any]], shown: Sequence[tuple[str, str]]) -> str:
    """All trials, one a line."""
    rows = [
        [
            *(str(trial.get(name, "")) for name in ("label", "n", "errors")),
            *(figure(trial, name) for name, _ in shown),
        ]
        for trial in trials
    ]
    return table(["trial", "n", "errors", *(title for _, title in shown)], rows)


def lag_line(trials: Sequence[Mapping[str, Any]]) -> str:
    """How late the load generator was, at worst; empty where that is not known."""
    lags = [trial["lag"] for trial in trials if isinstance(trial.get("lag"), dict)]
    found = [float(lag["p95"]) for lag in lags if isinstance(lag.get("p95"), int | float)]
    return f"lag of the load generator: {max(found) * 1000:.1f} ms at the 95th percentile" if found else ""


def draw_table(benches: Sequence[Measured]) -> str:
    """For people: the figures of each bench, what its gates say, the best profile as YAML."""
    parts = []
    for bench in benches:
        lines = [f"bench {bench.step}: {bench.outcome or 'unfinished'}"]
        if bench.trials:
            lines += [bench_table(bench.trials, columns(bench.trials)), "", bench_table(bench.trials, BESIDE), ""]
        lines += [*filter(None, [lag_line(bench.trials)]), *remarks(bench), *told_verdicts(bench.verdicts)]
        if bench.best:
            lines += ["", best_line(bench.best), str(bench.best.get("yaml", "")).rstrip()]
        elif bench.why and not bench.verdicts:
            lines.append(bench.why)
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n" if parts else ""


def best_line(best: Mapping[str, Any]) -> str:
    return f"the best {best.get('objective')} has {best.get('trial')}:"


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
