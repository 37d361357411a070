"""A bench for other programs: CSV, Markdown, JUnit's XML, annotations of GitHub Actions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.trials import METRICS, STATISTICS, value_of
from gptoss_flow.ui.bench import Measured, draw_json, draw_table, remarks
from gptoss_flow.ui.report.junit import legal
from gptoss_flow.ui.report.markdown import bench_table, code_span, plain

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
_PLACE = re.compile(r"(?P<file>.+):(?P<line>\d+):(?P<column>\d+)")


def draw_csv(benches: Sequence[Measured]) -> str:
    """One line for each trial, one column for each figure; times in seconds, numbers as they are."""
    axes = list(dict.fromkeys(axis for bench in benches for trial in bench.trials for axis in _profile(trial)))
    names = [
        name
        for metric in METRICS.values()
        for name in ([metric.name] if metric.is_single else [f"{metric.name}_{each}" for each in STATISTICS])
        if any(value_of(trial, name) is not None for bench in benches for trial in bench.trials)
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", "trial", "concurrency", "rate", *map(cell, axes), "n", "errors", "error", *names])
    for bench in benches:
        for trial in bench.trials:
            told = [bench.step, trial.get("label"), trial.get("concurrency"), trial.get("rate")]
            told += [_profile(trial).get(axis) for axis in axes]
            told += [trial.get("n"), trial.get("errors"), trial.get("error")]
            writer.writerow(map(cell, [*told, *(value_of(trial, name) for name in names)]))
    return out.getvalue()


def cell(value: Json) -> Json:
    """A cell that no spreadsheet evaluates: a text that looks like a formula gets a quote before it."""
    if value is None:
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = json_text(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _profile(trial: Mapping[str, Any]) -> Mapping[str, Json]:
    profile = trial.get("profile")
    return profile if isinstance(profile, dict) else {}


def draw_markdown(benches: Sequence[Measured]) -> str:
    """For `$GITHUB_STEP_SUMMARY` and comments."""
    return "".join(f"{part}\n\n" for bench in benches for part in _markdown(bench))


def _markdown(bench: Measured) -> Iterator[str]:
    sign = {"succeeded": "✅", "failed": "❌"}.get(bench.outcome or "", "⏳")
    yield f"### {sign} bench {code_span(bench.step)}: {bench.outcome or 'unfinished'}"
    if bench.trials:
        yield bench_table(bench.trials)
    for verdict in bench.verdicts:
        if not verdict.get("ok"):
            yield f"- ❌ {plain(str(verdict.get('said')))}"
    kept = sum(bool(verdict.get("ok")) for verdict in bench.verdicts)
    if bench.verdicts:
        yield f"{kept} of {len(bench.verdicts)} gates held."
    if bench.why and not any(not verdict.get("ok") for verdict in bench.verdicts):
        yield f"- ❌ {plain(bench.why)}"
    for remark in remarks(bench):
        yield f"> {plain(remark)}"


def draw_junit(benches: Sequence[Measured]) -> str:
    """A suite for each bench; a test case for each gate, or for each trial where there is none, or for why not."""
    root = ElementTree.Element("testsuites")
    for bench in benches:
        cases = [*_cases(bench)]
        suite = ElementTree.SubElement(root, "testsuite", {"name": legal(bench.step), "tests": str(len(cases))})
        suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
        suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
        suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
        suite.extend(cases)
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _cases(bench: Measured) -> Iterator[ElementTree.Element]:
    for verdict in bench.verdicts:
        name = f"{verdict.get('trial')}: {verdict.get('kind')} {verdict.get('figure')}"
        case = _case(bench, name)
        if not verdict.get("ok"):
            ElementTree.SubElement(case, "failure", {"message": legal(str(verdict.get("said")))})
        yield case
    for trial in bench.trials if not bench.verdicts else ():
        case = _case(bench, str(trial.get("label")))
        if trial.get("error") or not trial.get("n"):
            said = str(trial.get("error") or "no request succeeded")
            ElementTree.SubElement(case, "error", {"message": legal(said)})
        yield case
    if not bench.trials:
        case = _case(bench, "trials")
        word = "skipped" if bench.outcome == "skipped" else "error"
        ElementTree.SubElement(case, word, {"message": legal(bench.why or "it did not come to its end")})
        yield case


def _case(bench: Measured, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", {"classname": legal(bench.step), "name": legal(name)})


def github_annotations(benches: Sequence[Measured], error: str = "") -> list[str]:
    """`::error` lines of GitHub Actions: one for each gate that says no, at its place in the flow; where no bench
    is at fault, one for the run's `error`."""
    found = []
    for bench in benches:
        said = [str(verdict.get("said")) for verdict in bench.verdicts if not verdict.get("ok")]
        if not said and bench.error:
            said = [str(bench.error.get("message"))]
        place = _PLACE.fullmatch(str((bench.error or {}).get("at", "")))
        where = f"file={_property(place['file'])},line={place['line']},col={place['column']}," if place else ""
        found += [f"::error {where}title={_property(f'bench {bench.step}')}::{_data(each)}" for each in said]
    return found or ([f"::error title=bench::{_data(one_line(error))}"] if error else [])


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMS: dict[str, Callable[[Sequence[Measured]], str]] = {
    "table": draw_table,
    "json": draw_json,
    "csv": draw_csv,
    "md": draw_markdown,
    "junit": draw_junit,
}
"""What `bench --format` can say."""
