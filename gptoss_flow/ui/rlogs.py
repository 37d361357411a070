"""Reports on rlogs as people read them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from gptoss_flow.escape import one_line
from gptoss_flow.record.rlog_check import Report
from gptoss_flow.record.rlog_fix import Changes
from gptoss_flow.words import count

_ABOUT = ("id", "agent", "version", "model", "repo_sha", "branch", "cwd")


def draw_check(name: str, report: Report, *, with_notes: bool) -> str:
    """A line that says whether the file is valid, and one for each issue; those of severity info if asked for."""
    counts = Counter(issue.severity for issue in report.issues)
    found = ((counts["error"], "error"), (counts["warn"], "warning"), (counts["info"], "note"))
    said = ", ".join([count(sum(report.lines.values()), "line"), *(count(n, what) for n, what in found if n)])
    shown = [i for i in report.issues if with_notes or i.severity != "info"]
    lines = [f"{name}: {'valid' if report.valid else 'not valid'} ({said})"]
    lines += [f"{name}:{i.line}: {i.severity} {i.code}: {i.message}" for i in shown]
    if report.issues_left_out:
        lines.append(f"{name}: {count(report.issues_left_out, 'more issue')}")
    return "\n".join(map(one_line, lines))


def draw_counts(name: str, report: Report) -> str:
    """The header in short, lines by type, calls, tokens."""
    header, tokens = report.header.values, report.tokens
    severities = Counter(issue.severity for issue in report.issues)
    rows = [(key, str(header[key])) for key in _ABOUT if header.get(key)]
    spent = f"in {tokens['in']}, out {tokens['out']}, cached {tokens['cached']} (from {report.tokens_from})"
    rows += [
        ("lines", ", ".join(f"{kind} {number}" for kind, number in report.lines.items() if number) or "none"),
        ("calls", str(report.calls)),
        ("tokens", spent),
    ]
    if report.blobs or report.redacted:
        rows.append(("texts", f"{count(report.blobs, 'blob')}, {count(report.redacted, 'redacted text')}"))
    if severities:
        rows.append(("issues", ", ".join(f"{word} {number}" for word, number in severities.items())))
    if not report.valid:
        rows.append(("valid", next((i.message for i in report.issues if i.severity == "error"), "no")))
    width = max(len(key) for key, _ in rows)
    return "\n".join([one_line(name), *(f"  {key:{width}}  {one_line(value)}" for key, value in rows)])


def draw_changes(name: str, changes: Changes, report: Report, kept: Path | None) -> str:
    """Each change, what is left, and where the file as it was is kept."""
    left = [issue for issue in report.issues if issue.severity != "info"]
    lines = [f"{name}:{line}: {what}" for line, what in changes.described]
    lines += [f"{name}:{issue.line}: left: {issue.code}: {issue.message}" for issue in left]
    as_it_was = f"; as it was: {kept}" if kept else ""
    lines.append(f"{name}: {count(changes.count, 'change')}, {len(left)} left{as_it_was}")
    return "\n".join(map(one_line, lines))
