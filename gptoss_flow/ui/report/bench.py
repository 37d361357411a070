"""Plots of a bench step's trials: throughput and latency over load, percentile curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.record.state import StepView
from gptoss_flow.ui.report.facts import number

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 320.0, 180.0, 44.0, 26.0  # pixels
_PERCENTILES = ("p50", "p90", "p95", "p99")
_PLOTS = (
    ("aggregate_tps", ("mean",), "tokens a second, all requests together"),
    ("decode_tps", ("p50",), "tokens a second of one request, median"),
    ("ttft", _PERCENTILES, "time to the first token, seconds"),
    ("latency", _PERCENTILES, "latency, seconds"),
)

Point = tuple[float, float]


def draw_plots(step: StepView) -> Markup:
    """One picture for each metric that the trials have; empty where the step's output has no trials."""
    output = step.output if isinstance(step.output, dict) else {}
    found = output.get("trials")
    trials = [trial for trial in found if isinstance(trial, dict)] if isinstance(found, list) else []
    plots = [
        plot
        for metric, statistics, title in _PLOTS
        if (plot := _plot(title, {name: _points(trials, metric, name) for name in statistics}))
    ]
    return Markup('<div class="plots">%s</div>') % Markup("").join(plots) if plots else Markup("")


def _points(trials: Sequence[Mapping[str, Json]], metric: str, statistic: str) -> list[Point]:
    points = []
    for place, trial in enumerate(trials, start=1):
        metrics = trial.get("metrics")
        values = metrics.get(metric) if isinstance(metrics, dict) else None
        y = number(values.get(statistic) if isinstance(values, dict) else values)
        load = next(
            (x for key in ("concurrency", "rate") if (x := number(trial.get(key))) is not None), float(place)
        )
        if y is not None:
            points.append((load, y))
    return sorted(points)


def _plot(title: str, series: Mapping[str, Sequence[Point]]) -> Markup | None:
    series = {name: points for name, points in series.items() if points}
    if not series:
        return None
    xs = sorted({x for points in series.values() for x, _ in points})
    top = max(y for points in series.values() for _, y in points) or 1.0

    def place(x: float, y: float) -> Point:
        share = (x - xs[0]) / (xs[-1] - xs[0]) if len(xs) > 1 else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - 40), 12 + (1 - y / top) * (_HEIGHT - 12 - _BOTTOM)

    parts = [
        Markup(
            '<line class="axis" x1="%s" x2="%s" y1="%.1f" y2="%.1f"/>'
            '<text x="%s" y="%.1f" text-anchor="end">%s</text>'
        )
        % (_LEFT, _WIDTH, y, y, _LEFT - 6, y + 3, f"{value:.3g}")
        for value in (0.0, top / 2, top)
        for y in (place(xs[0], value)[1],)
    ]
    parts += [
        Markup('<text x="%.1f" y="%s" text-anchor="middle">%s</text>') % (place(x, 0)[0], _HEIGHT - 10, f"{x:g}")
        for x in (xs if len(xs) <= 8 else xs[:: len(xs) // 6])
    ]
    for at, (name, points) in enumerate(series.items()):
        placed = [place(x, y) for x, y in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        dots = Markup("").join(Markup('<circle cx="%.1f" cy="%.1f" r="2.5"/>') % dot for dot in placed)
        label = Markup('<text x="%.1f" y="%.1f">%s</text>') % (placed[-1][0] + 6, placed[-1][1] + 3, name)
        parts.append(
            Markup('<g class="series%s"><polyline points="%s"/>%s%s</g>')
            % (at, line, dots, label if len(series) > 1 else "")
        )
    return Markup(
        '<figure><svg viewBox="0 0 %d %d" role="img" aria-label="%s">%s</svg><figcaption>%s</figcaption></figure>'
    ) % (_WIDTH, _HEIGHT, one_line(title), Markup("").join(parts), title)
