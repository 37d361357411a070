"""A bench step in the report: its figures, its gates, and plots of them. What is no figure is passed over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import Warned
from gptoss_flow.fields import json_text
from gptoss_flow.record.state import StepView
from gptoss_flow.trials import value_of
from gptoss_flow.ui.bench import BESIDE, Measured, best_line, columns, figure, lag_line, lags, measured, remarks
from gptoss_flow.ui.report.facts import number
from gptoss_flow.ui.report.plot import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, draw_lines, framed
from gptoss_flow.ui.report.view import Happening, Said, Unit

_OVER_LOAD = (
    ("aggregate_tps", "tokens a second, all requests together, over the load"),
    ("decode_tps_p50", "tokens a second of one request, median, over the load"),
    ("ttft_p95", "time to the first token, ms, 95th percentile, over the load"),
    ("latency_p95", "latency, ms, 95th percentile, over the load"),
)
_CURVES = (
    ("ttft", "time to the first token, ms, by percentile"),
    ("latency", "latency, ms, by percentile"),
    ("tpot", "ms a token, by percentile"),
)
_PERCENTS = {0.0: "0", 25.0: "25", 50.0: "50", 75.0: "75", 100.0: "100 %"}
_TIMELINES = 4
"""Trials whose requests are drawn over time."""
_REQUESTS = 60
"""Of each, so many."""


def happenings(unit: Unit) -> list[Happening]:
    """What happened in a step, in order, without the warnings that stand beside its figures."""
    step = unit.step
    said = set(lags(trial for trial in step.trials.values() if isinstance(trial, dict)))
    return [
        each
        for each in unit.history.happenings
        if not (isinstance(each, Said) and isinstance(each.event, Warned) and each.event.message in said)
    ]


def draw_bench(step: StepView) -> Markup:
    """All of it; empty for a step that measured nothing."""
    bench = measured(step)
    if bench is None:
        return Markup("")
    parts = [_table(bench, columns(bench.trials)), _table(bench, BESIDE)]
    parts += [
        Markup('<p class="event">%s</p>') % one_line(said)
        for said in [lag_line(bench.trials), *remarks(bench)]
        if said
    ]
    parts += [_verdict(verdict) for verdict in bench.verdicts]
    if bench.best:
        yaml = for_terminal(str(bench.best.get("yaml", "")))
        parts.append(Markup('<p class="event">%s</p><pre>%s</pre>') % (one_line(best_line(bench.best)), yaml))
    plots = [*_plots(step, bench)]
    drawn = Markup('<div class="plots">%s</div>') % Markup("").join(plots) if plots else Markup("")
    return Markup('<div class="bench">%s</div>%s') % (Markup("").join(parts), drawn)


def _table(bench: Measured, shown: Sequence[tuple[str, str]]) -> Markup:
    head = Markup("").join(Markup('<th scope="col">%s</th>') % title for _, title in shown)
    rows = [
        Markup('<tr><th scope="row">%s</th><td>%s</td><td>%s</td>%s</tr>')
        % (
            *(one_line(str(trial.get(name, ""))) for name in ("label", "n", "errors")),
            Markup("").join(Markup("<td>%s</td>") % figure(trial, name) for name, _ in shown),
        )
        for trial in bench.trials
    ]
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="Figures"><table><thead><tr>'
        '<th scope="col">trial</th><th scope="col">n</th><th scope="col">errors</th>%s</tr></thead>'
        "<tbody>%s</tbody></table></div>"
    ) % (head, Markup("").join(rows))


def _verdict(verdict: Mapping[str, Any]) -> Markup:
    look, sign = ("event", "✓") if verdict.get("ok") else ("why", "✗")
    return Markup('<p class="%s">%s %s</p>') % (look, sign, one_line(str(verdict.get("said"))))


def _plots(step: StepView, bench: Measured) -> Iterator[Markup]:
    for name, title in _OVER_LOAD:
        if plot := draw_lines(title, _over_load(bench.trials, name)):
            yield plot
    trials = [trial for at in sorted(step.trials) if isinstance(trial := step.trials[at], dict)]
    for name, title in _CURVES:
        if plot := draw_lines(title, _curves(trials, name), _PERCENTS, dots=False):
            yield plot
    for trial in trials[:_TIMELINES]:
        if requests := _requests(trial):
            yield _timeline(str(trial.get("label")), requests)


def _over_load(trials: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Point]]:
    """A line for each profile, where there are several loads."""
    found: dict[str, list[Point]] = {}
    for trial in trials:
        load = next((x for key in ("concurrency", "rate") if (x := number(trial.get(key))) is not None), None)
        value = value_of(trial, name)
        if load is not None and value is not None:
            value *= 1 if "_tps" in name else 1000
            profile = trial.get("profile")
            cell = profile.items() if isinstance(profile, dict) else ()
            found.setdefault(", ".join(f"{axis} {json_text(each)}" for axis, each in cell), []).append(
                (load, value)
            )
    lines = dict(zip(_told_apart(found), map(sorted, found.values()), strict=True))
    return lines if any(len(points) > 1 for points in lines.values()) else {}


def _curves(trials: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[Point]]:
    """The sorted values of each trial over their percentile."""
    found = {}
    for trial in trials:
        values = sorted(value for value in _column(trial, name) if value is not None)
        if len(values) > 1:
            label = f"{trial.get('label')}" + (f", round {trial['round']}" if trial.get("round", 1) != 1 else "")
            found[label] = [(100 * at / (len(values) - 1), value * 1000) for at, value in enumerate(values)]
    return dict(zip(_told_apart(found), found.values(), strict=True))


def _told_apart(labels: Iterable[str]) -> list[str]:
    """The labels without what all of them say."""
    parts = [label.split(", ") for label in labels]
    common = set[str].intersection(*map(set, parts)) if len(parts) > 1 else set[str]()
    return [", ".join(part for part in each if part not in common) or ", ".join(each) for each in parts]


def _column(trial: Mapping[str, Any], name: str) -> list[float | None]:
    samples = trial.get("samples")
    heads = samples.get("columns") if isinstance(samples, dict) else None
    if not isinstance(samples, dict) or not isinstance(heads, list) or name not in heads:
        return []
    at, rows = heads.index(name), samples.get("rows")
    return [number(row[at]) if isinstance(row, list) and at < len(row) else None for row in rows or ()]


def _requests(trial: Mapping[str, Any]) -> list[tuple[float, float, float]]:
    """When each was sent, had its first token, and its last: seconds from the first of all."""
    columns_of = [_column(trial, name) for name in ("at", "ttft", "latency")]
    found = [
        (sent, sent + first, sent + last)
        for sent, first, last in zip(*columns_of, strict=False)
        if sent is not None and first is not None and last is not None
    ]
    return sorted(found)[:_REQUESTS]


def _timeline(label: str, requests: Sequence[tuple[float, float, float]]) -> Markup:
    """A bar for each request: waiting and prefill, then decode."""
    end = max(last for _, _, last in requests) or 1.0
    pitch = 6.0 if len(requests) <= 24 else 3.0

    def across(at: float) -> float:
        return LEFT + max(0.0, at) / end * (WIDTH - LEFT - RIGHT)

    bars = [
        Markup('<rect class="%s" x="%.1f" y="%.1f" width="%.1f" height="%.1f"/>')
        % (look, across(start), TOP + at * pitch, max(0.5, across(stop) - across(start)), pitch - 1)
        for at, (sent, first, last) in enumerate(requests)
        for look, start, stop in (("turn prefill", sent, first), ("turn decode", first, last))
    ]
    height = max(TOP + len(requests) * pitch + 16, HEIGHT / 3)
    ticks = [
        Markup('<text x="%.1f" y="%.1f" text-anchor="middle">%s</text>') % (across(at), height - 4, f"{at:.3g} s")
        for at in (0.0, end / 2, end)
    ]
    return framed(
        f"{label}: requests over time, to the first token and on", Markup("").join([*bars, *ticks]), height
    )


def plain_rows(step: StepView) -> list[str]:
    """For the report as text."""
    bench = measured(step)
    return [] if bench is None else [*_lines(bench)]


def _lines(bench: Measured) -> Iterator[str]:
    for trial in bench.trials:
        shown = [f"{head} {said}" for name, head in columns(bench.trials) if (said := figure(trial, name))]
        yield f"{trial.get('label')}: n {trial.get('n')}, errors {trial.get('errors')}, {', '.join(shown)}"
    yield from (f"{'✓' if verdict.get('ok') else '✗'} {verdict.get('said')}" for verdict in bench.verdicts)
    yield from remarks(bench)
