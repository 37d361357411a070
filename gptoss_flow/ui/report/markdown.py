"""The report as GitHub's Markdown, for `$GITHUB_STEP_SUMMARY` and comments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import Json
from gptoss_flow.record.state import Tokens
from gptoss_flow.ui.bench import benches_of, columns, figure
from gptoss_flow.ui.report.facts import Speeds, error_line, failures, rate, remarks, speeds, took
from gptoss_flow.ui.report.json_form import indented
from gptoss_flow.ui.report.view import Report, Unit, warnings_of_run

LONGEST = 4000
"""Characters of a value; GitHub takes a megabyte of summary."""
MOST = 50
"""Failures that are told."""
_SIGNS = {"succeeded": "✅", "failed": "❌", "skipped": "⏭️", "cancelled": "🚫", "limited": "🚫"}
_HEAD = ("step", "kind", "outcome", "took", "computed", "reused", "generated", "TTFT", "decode/s")
_WORDS = r"(?<=[a-zA-Z0-9])_(?=[a-zA-Z0-9])|(?<=[0-9])\.(?=[0-9])|(?<=[a-zA-Z0-9]):(?= )|\+(?=[0-9])|[-,()%]"
_MARKUP = re.compile(rf"{_WORDS}|([!-/:-@\[-`{{-~])")
"""What is markup, or may become it, is the group; the rest stands for itself."""


def draw_markdown(report: Report) -> str:
    return "\n\n".join(_parts(report)) + "\n"


def _parts(report: Report) -> Iterator[str]:
    facts, tokens = report.facts, report.view.state.tokens
    code = f", exit code {facts['exit_code']}" if facts["exit_code"] is not None else ""
    yield f"## {_SIGNS.get(report.status, '⏳')} {plain(report.name)}: {report.status}{code}"
    counted = [f"{getattr(tokens, name):,} {name}" for name in ("computed", "reused", "generated")]
    yield " · ".join(
        filter(None, (took(facts["duration_s"]), f"tokens: {', '.join(counted)}", f"run {code_span(facts['id'])}"))
    )
    for notice in (*report.notices, *(f"Warning: {message}" for message in warnings_of_run(report.view))):
        yield f"> {code_span(notice) if notice not in report.notices else notice}"
    if facts["error"]:
        yield fenced(facts["error"])
    if report.units:
        yield "\n".join(_table(report))
    for bench in benches_of(report.view.state):
        yield f"**bench {code_span(bench.step)}**\n\n{bench_table(bench.trials)}"
    failed = failures(report.units)
    for unit in failed[:MOST]:
        place = (
            f" ({code_span(str(unit.step.error['at']))})" if unit.step.error and unit.step.error.get("at") else ""
        )
        yield f"**{code_span(unit.step.id)} failed**{place}\n\n" + fenced(error_line(unit.step.error or {}))
    if len(failed) > MOST:
        yield f"… and {len(failed) - MOST} more failed."
    for name, value in facts["outputs"].items():
        yield f"**output {code_span(name)}**\n\n" + fenced(
            indented(value), "" if isinstance(value, str) else "json"
        )


def _table(report: Report) -> Iterator[str]:
    yield _row(_HEAD)
    yield "|" + "|".join([" --- "] * 3 + [" ---: "] * (len(_HEAD) - 3)) + "|"
    for root in report.units:
        for unit in _steps(root):
            said = ", ".join([unit.outcome, *remarks(unit)])
            duration = took(unit.step.duration_s) if unit.step.outcome not in (None, "skipped") else ""
            sign = _SIGNS.get(unit.outcome, "⏳")
            name = f"{sign} {code_span(unit.step.id)}"
            yield _row(
                (name, plain(unit.step.kind), plain(said), duration, *_numbers(unit.tokens, speeds(unit.turns)))
            )
    turns = [turn for unit in report.units for turn in unit.turns]
    yield _row(("**all**", "", "", "", *_numbers(report.view.state.tokens, speeds(turns))))


def _steps(unit: Unit) -> Iterator[Unit]:
    """A fan-out stands for its items."""
    yield unit
    if not unit.is_fan_out:
        for part in unit.parts:
            yield from _steps(part)


def _numbers(tokens: Tokens, speed: Speeds) -> tuple[str, ...]:
    counts = (tokens.computed, tokens.reused, tokens.generated)
    return (*(f"{n:,}" if n else "" for n in counts), took(speed.ttft_s), rate(speed.decode_tps))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def bench_table(trials: Sequence[Mapping[str, Json]]) -> str:
    """The trials of a bench as a table."""
    shown = columns(trials)
    rows = [["trial", "n", "errors", *(head for _, head in shown)]]
    rows.append(["---", *["---:"] * (len(rows[0]) - 1)])
    for trial in trials:
        counts = [plain(str(trial.get(name, ""))) for name in ("label", "n", "errors")]
        rows.append([*counts, *(figure(trial, name) for name, _ in shown)])
    return "\n".join(map(_row, rows))


def plain(text: str) -> str:
    """The text as words of a line or of a cell, whatever stands in it: no markup, link, mention or new line.

    A character reference never counts as markup.
    """
    return _MARKUP.sub(lambda match: f"&#{ord(match[1])};" if match[1] else match[0], one_line(text))


def code_span(text: str) -> str:
    """The text in a line or a cell, in the type of code: within a tag, as backticks would not hold a pipe."""
    return f"<code>{plain(text)}</code>"


def fenced(text: Json, language: str = "") -> str:
    """The text as a block of code that nothing in it can end, cut to `LONGEST`."""
    shown = for_terminal(str(text))
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}…\n({len(shown):,} characters)"
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}{language}\n{shown}\n{fence}"
