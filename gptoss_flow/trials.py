"""What a bench asks for, with every value resolved, the metrics that it knows, and the port that carries it out.

A bench is a list of trials: one load on one server, whose requests are timed. A trial's result is plain JSON.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gptoss_flow.errors import Mark, StepError
from gptoss_flow.events import Event, Json
from gptoss_flow.ports import Message, Mode

Unit = Literal["s", "/s", "share"]
"""Seconds, something a second, or a part of the whole."""
Better = Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class Metric:
    name: str
    unit: Unit
    better: Better
    is_single: bool
    """One number a trial, and not one for each request."""
    meaning: str


METRICS = {
    metric.name: metric
    for metric in (
        Metric("ttft", "s", "lower", False, "request sent to first token at the socket"),
        Metric("ttfo", "s", "lower", False, "request sent to first token of the final channel"),
        Metric("itl", "s", "lower", False, "gaps between tokens, one for each token"),
        Metric("tpot", "s", "lower", False, "(last token - first) / (tokens - 1)"),
        Metric("latency", "s", "lower", False, "request sent to last token"),
        Metric("queue", "s", "lower", False, "latency - prefill - decode"),
        Metric("prefill", "s", "lower", False, "as the server timed it"),
        Metric("decode", "s", "lower", False, "as the server timed it"),
        Metric("prefill_tps", "/s", "higher", False, "prompt tokens computed a second, as the server timed it"),
        Metric("decode_tps", "/s", "higher", False, "tokens generated a second, as the server timed it"),
        Metric("client_prefill_tps", "/s", "higher", False, "prompt tokens computed / ttft"),
        Metric("client_decode_tps", "/s", "higher", False, "1 / tpot"),
        Metric("aggregate_tps", "/s", "higher", True, "tokens of all requests together / wall time"),
        Metric("request_rate", "/s", "higher", True, "aggregate_tps / tokens of a request"),
        Metric("goodput", "/s", "higher", True, "requests a second that meet every service level"),
        Metric("error_rate", "share", "lower", True, "requests that failed / requests"),
        Metric("load_s", "s", "lower", True, "the model's loading: the server listens to it is ready"),
        Metric("ready_s", "s", "lower", True, "the whole cold start: spawned to ready, warm-up included"),
    )
}
STATISTICS = ("p50", "p90", "p95", "p99", "min", "max", "mean")
OF_A_START = ("load_s", "ready_s")
"""Metrics of a server's start: there are none of one that was running already."""
GATED = ("ttft_p50", "tpot_p50", "latency_p50")
"""What a `max_regression` without names is about."""
FIGURES = tuple(
    name
    for metric in METRICS.values()
    for name in ([metric.name] if metric.is_single else [f"{metric.name}_{each}" for each in STATISTICS])
)
"""What a service level, a regression or an objective can be about: `ttft_p95`, `aggregate_tps`."""
_FIGURE = re.compile(rf"(?P<metric>{'|'.join(METRICS)})(_(?P<statistic>{'|'.join(STATISTICS)}))?")


def metric_of(figure: str) -> tuple[Metric, str | None]:
    """The metric of a figure, and its statistic where it has several."""
    match = _FIGURE.fullmatch(figure)
    assert match is not None
    return METRICS[match["metric"]], match["statistic"]


def value_of(trial: Mapping[str, Json], figure: str) -> float | None:
    """A figure of a trial, which may be one from a damaged record; None where the trial does not have it."""
    metric, statistic = metric_of(figure)
    metrics = trial.get("metrics")
    found = metrics.get(metric.name) if isinstance(metrics, Mapping) else None
    if statistic is not None:
        found = found.get(statistic) if isinstance(found, Mapping) else None
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None


Comparison = Literal["<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Level:
    """A service level: what a figure of each trial must be. `value` is in seconds, a second, or a share."""

    figure: str
    comparison: Comparison
    value: float
    mark: Mark | None = None

    def is_met_by(self, value: float) -> bool:
        match self.comparison:
            case "<":
                return value < self.value
            case "<=":
                return value <= self.value
            case ">":
                return value > self.value
            case ">=":
                return value >= self.value


QUANT = "quant"
"""The axis of a matrix that is no key of a profile: the only entry of `model.quants`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How requests come: so many at once, each the next one's cause, or at random, so many a second."""

    concurrency: int | None = None
    rate: float | None = None
    """A second."""

    def __str__(self) -> str:
        return f"rate {self.rate:g}/s" if self.rate is not None else f"concurrency {self.concurrency}"


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Prompts of random words, of exactly so many tokens, each answered with exactly so many."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """The prompts of a run on record, of all of its steps or of one."""

    run: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the trials are held against: by how much, a share of it, each figure may be worse."""

    file: str
    max_regression: Mapping[str, float]
    on_other: Literal["refuse", "mark"]
    """What becomes of one from another machine or build."""
    mark: Mark | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRequest:
    """A bench step with every value resolved."""

    step: str
    attempt: int
    server: str
    mode: Mode
    prompts: tuple[tuple[Message, ...], ...] | Synthetic | Recorded
    reasoning: Literal["low", "medium", "high"] | None = None
    params: Mapping[str, Json] = field(default_factory=dict)
    loads: tuple[Load, ...]
    requests: int | None
    """That are measured in each trial; None: as many as fit into `duration_s`, or as the run on record has."""
    duration_s: float | None = None
    warmup: int | None = None
    """Requests before those, for each trial; None: as many as run at once."""
    cooldown: int | None = None
    """Requests after those at most; None: as many as keep the load up until the last measured one has ended."""
    request_timeout_s: float
    matrix: Mapping[str, Json] | None = None
    """Axes over keys of the server's profile; each cell is a server of its own, started for each trial. None: the
    flow's server."""
    rounds: int = 1
    order: Literal["shuffled", "file"] = "shuffled"
    seed: int = 0
    date: str = ""
    """YYYY-MM-DD of the run, as in `PromptRequest`."""
    levels: tuple[Level, ...] = ()
    baseline: Baseline | None = None
    objective: str | None = None
    """The figure by which the best cell is chosen."""


@dataclass(frozen=True, slots=True)
class BenchResult:
    """What came of a bench: `trials` are those of all rounds together, one for each load and cell."""

    trials: list[dict[str, Json]]
    verdicts: list[dict[str, Json]]
    """Each `{figure, trial, ok, said, …}`; empty where nothing was asked for."""
    best: dict[str, Json] | None
    """`{profile, objective, value, trial}`."""


class Bench(Protocol):
    """Measures servers: what a `bench` step asks."""

    async def measure(self, asked: BenchRequest, emit: Callable[[Event], None]) -> BenchResult:
        """Emits each trial as it ends. Raises `StepError`."""


class NoBench:
    """Where nothing is a server that could be measured."""

    async def measure(self, asked: BenchRequest, emit: Callable[[Event], None]) -> BenchResult:
        raise StepError(
            "server",
            "a bench measures a server, and a scripted model has none: leave --model out",
            retryable=False,
        )


def missed(verdicts: Sequence[Mapping[str, Json]]) -> list[Mapping[str, Json]]:
    """The verdicts that say no."""
    return [verdict for verdict in verdicts if not verdict["ok"]]
