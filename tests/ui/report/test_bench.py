"""A bench in the report, in each of its forms."""

from __future__ import annotations

import csv
import io
from typing import Any
from xml.etree import ElementTree

import pytest

from gptoss_flow.events import BenchJudged, Event, TrialFinished, Warned
from gptoss_flow.record.state import fold
from gptoss_flow.ui.bench import Measured, benches_of, told_trial
from gptoss_flow.ui.bench_forms import FORMS, cell, draw_csv, draw_junit, draw_markdown, github_annotations
from gptoss_flow.ui.report.bench import draw_bench
from gptoss_flow.ui.report.html import draw_html
from gptoss_flow.ui.report.markdown import draw_markdown as report_markdown
from gptoss_flow.ui.report.markdown import plain
from gptoss_flow.ui.report.text import draw_text
from tests.record.samples import run_started, stamp
from tests.ui.report.made import done, report_of

COLUMNS = ["at", "ttft", "latency", "tpot"]
ERROR = {"kind": "check", "message": "too slow", "attempts": 1, "at": "flows/a b.yaml:12:7"}


def trial(load: int, **more: Any) -> dict[str, Any]:
    rows = [[0.5 * n, 0.1 * load + 0.01 * n, 0.4 * load + 0.02 * n, 0.02] for n in range(8)]
    figures = {
        "ttft": {"n": 8, "p50": 0.1 * load, "p95": 0.15 * load},
        "ttfo": {"n": 8, "p50": 0.1 * load, "p95": 0.15 * load},
        "latency": {"n": 8, "p50": 0.4 * load, "p95": 0.6 * load},
        "decode_tps": {"n": 8, "p50": 40 / load},
        "aggregate_tps": 30 * load,
        "error_rate": 0.1,
    }
    return {
        "label": f"concurrency {load}", "concurrency": load, "profile": {}, "round": 1, "n": 8, "errors": 1,
        "error_kinds": {"HTTP 500: no": 1}, "metrics": figures, "samples": {"columns": COLUMNS, "rows": rows},
        "lag": {"p50": 0.0004, "p95": 0.0009, "max": 0.002, "mattered": False, "said": ""}, **more,
    }  # fmt: skip


def events(*trials: dict[str, Any], judged: bool = True) -> list[Event]:
    verdicts = [
        {"kind": "slo", "figure": "ttft_p95", "trial": "concurrency 1", "ok": True, "said": "it is fast"},
        {"kind": "slo", "figure": "ttft_p95", "trial": "concurrency 4", "ok": False, "said": "it is <b>slow</b>"},
    ]
    best = {"objective": "decode_tps_p50", "trial": "concurrency 1", "yaml": "extends: demo\n"}
    made: list[Event] = [run_started(steps={"load": "bench"})]
    made += [TrialFinished(step="load", attempt=1, number=n, trial=each) for n, each in enumerate(trials)]
    if judged:
        made.append(BenchJudged(step="load", trials=list(trials), verdicts=verdicts, best=best))
        made.append(done("load", None, outcome="failed", error=ERROR))
    return made


def test_what_is_said_of_a_late_load_generator_is_said_once() -> None:
    said = "the load generator itself was late: 20.0 ms at the 95th percentile"
    late = trial(4, lag={"p50": 0.01, "p95": 0.02, "max": 0.03, "mattered": True, "said": said})
    made = events(trial(1), late)
    made.insert(3, Warned(step="load", message=f"concurrency 4: {said}"))
    made.insert(4, Warned(step="load", message="something else"))
    report = report_of(made)
    html, text = draw_html(report), draw_text(report).partition("✕ load")[2]
    for form in (html, text):  # the text's overview has all warnings, as `show` does
        assert (form.count(said), form.count("something else")) == (1, 1)


def benches(*trials: dict[str, Any], judged: bool = True) -> list[Measured]:
    return benches_of(fold(stamp(events(*trials, judged=judged))))


def test_the_page_has_figures_gates_and_plots() -> None:
    report = report_of(events(trial(1), trial(2), trial(4)))
    drawn = draw_bench(report.units[0].step)
    assert drawn.count("<table>") == 2
    assert "✗ it is &lt;b&gt;slow&lt;/b&gt;" in drawn
    assert "<pre>extends: demo" in drawn
    over_load, curves, timelines = 4, 3, 3
    assert drawn.count("<figure>") == over_load + curves + timelines
    assert drawn.count("<polyline") == over_load * 1 + curves * 3
    assert (
        ">600</text>" in drawn and ">2,400</text>" in drawn
    )  # ms at the 95th percentile, of load 1 and of load 4
    assert drawn.count('class="turn prefill"') == 3 * 8
    assert drawn in draw_html(report)


def test_a_sweep_has_a_line_for_each_profile() -> None:
    cells = [{"kv_cache.k": kind} for kind in ("f16", "q8_0")]
    drawn = draw_bench(
        report_of(events(*(trial(n, profile=each) for each in cells for n in (1, 2)))).units[0].step
    )
    assert drawn.count("kv_cache.k q8_0") >= 4


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"metrics": 3}, {"metrics": {"ttft": "<b>"}},
        {"samples": {"columns": COLUMNS, "rows": [1, [2], ["x"]]}},
        {"samples": 7, "lag": [], "profile": 4, "error_kinds": None, "label": None, "n": "many"},
        {"metrics": {"ttft": {"p50": True}}, "samples": {"columns": "at", "rows": None}},
    ],
)  # fmt: skip
def test_what_is_no_figure_is_passed_over_in_every_form(wrong: dict[str, Any]) -> None:
    made = events(wrong)
    draw_html(report_of(made)), draw_text(report_of(made)), report_markdown(report_of(made))
    for draw in FORMS.values():
        draw(benches_of(fold(stamp(made))))
    told_trial(wrong)


def test_a_step_that_measured_nothing_has_no_figures() -> None:
    report = report_of([run_started(steps={"load": "bench"}), done("load", {"trials": 3})])
    assert draw_bench(report.units[0].step) == ""


def test_a_result_that_was_taken_from_an_earlier_run_has_its_figures() -> None:
    output = {"trials": [trial(1)], "verdicts": [], "best": None}
    step = report_of([run_started(steps={"load": "bench"}), done("load", output, reused="earlier")]).units[0].step
    step.kind = "bench"
    assert "concurrency 1" in draw_bench(step)


def test_of_a_bench_that_was_cut_short_there_is_what_ended() -> None:
    [bench] = benches(trial(1), judged=False)
    assert (bench.outcome, bench.verdicts) == (None, [])
    assert "bench load: unfinished" in FORMS["table"]([bench])
    assert "concurrency 1" in FORMS["table"]([bench])


def test_csv_has_a_line_a_trial_and_no_formulas() -> None:
    evil = trial(2, label='=HYPERLINK("http://x")', profile={"model": "+cmd", "batch": -5})
    head, one, two = csv.reader(io.StringIO(draw_csv(benches(trial(1), evil))))
    assert head[:9] == ["step", "trial", "concurrency", "rate", "model", "batch", "n", "errors", "error"]
    assert one[head.index("ttft_p50")] == "0.1"
    assert two[1] == '\'=HYPERLINK("http://x")'
    assert two[4:6] == ["'+cmd", "-5"]


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx"])
def test_a_text_that_begins_like_a_formula_is_quoted(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_a_number_is_a_number() -> None:
    assert [cell(value) for value in (-1.5, 3, None, True, "x", ["=a"])] == [-1.5, 3, "", "true", "x", '["=a"]']


def test_markdown_and_junit_say_what_was_missed() -> None:
    made = benches(trial(1), trial(4, label="a|b"))
    assert "| a&#124;b | 8 | 1 |" in draw_markdown(made)
    assert "it is &#60;b&#62;slow" in draw_markdown(made)
    [suite] = ElementTree.fromstring(draw_junit(made))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    [failure] = suite.iter("failure")
    assert failure.get("message") == "it is <b>slow</b>"


def test_junit_of_a_bench_without_gates_has_its_trials() -> None:
    [suite] = ElementTree.fromstring(draw_junit(benches(trial(1), trial(2, n=0), judged=False)))
    assert (suite.get("tests"), suite.get("errors")) == ("2", "1")


@pytest.mark.parametrize(
    ("end", "word", "said"),
    [
        (done("load", outcome="failed", error=ERROR), "error", ERROR["message"]),
        (done("load", outcome="skipped", reason="step before failed"), "skipped", "step before failed"),
        (None, "error", "it did not come to its end"),
    ],
)
def test_a_bench_that_measured_nothing_is_told_by_each_form(end: Event | None, word: str, said: str) -> None:
    state = fold(stamp([run_started(steps={"load": "bench"}), *([end] if end else [])]))
    assert benches_of(state) == []
    made = benches_of(state, all_of_them=True)
    [suite] = ElementTree.fromstring(draw_junit(made))
    [told] = suite.iter(word)
    assert (suite.get("tests"), told.get("message")) == ("1", said)
    if end is not None:
        assert said in FORMS["table"](made)
        assert plain(str(said)) in draw_markdown(made)
    assert github_annotations([], "step before: no\n::error::x") == [
        "::error title=bench::step before: no\\n::error::x"
    ]


def test_annotations_stand_at_the_gate_and_hold_no_new_line() -> None:
    [bench] = benches(trial(1))
    bench.verdicts[1]["said"] = "50% slower\n::error::x"  # type: ignore[index]
    assert github_annotations([bench]) == [
        "::error file=flows/a b.yaml,line=12,col=7,title=bench load::50%25 slower%0A::error::x"
    ]
