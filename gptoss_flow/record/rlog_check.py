"""Checks and counts an rlog in one pass: the format's own warnings, strict mode's errors, calls, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from gptoss_flow.escape import one_line
from gptoss_flow.record.id_table import IdTable
from gptoss_flow.record.rlog_fields import U32, U64, number_of, result_of, word_of
from gptoss_flow.record.rlog_header import Header
from gptoss_flow.record.rlog_lines import LINE_TYPES, LineType, classify
from gptoss_flow.record.rlog_read import RawLine

Severity = Literal["error", "warn", "info"]

KEPT_ISSUES = 10_000
"""How many issues are described; the rest is counted, so that any file can be checked in constant memory."""
KEPT_STARTS = 100_000
"""Of how many calls at once it is remembered that they have not ended."""
STRICT = frozenset({"W002", "W003", "W004", "W007", "W008", "W009", "W010", "W011"})
"""Warnings that are errors in strict mode; `I002` is one where the file claims to be complete."""

_BLOB = re.compile(r"@blob\s+sha256=([a-f0-9]+)")
_REDACTED = re.compile(r"\[redacted:\w+\]")
_HEX = re.compile(r"[0-9a-fA-F]*")
_RETRY = re.compile(r"\battempt=0*(?:[2-9]|1\d)")
_COMPLETE = re.compile(r"status: *(?:completed?|done|finished)\b", re.IGNORECASE)
_TOKENS = {"in": "tokens_in=", "out": "tokens_out=", "cached": "tokens_cached="}
_CALLS: frozenset[LineType] = frozenset({
    "tool", "tool_start", "tool_progress", "observation", "subagent", "mcp", "question",
})  # fmt: skip
_CALLED, _ENDED = 1, 2


@dataclass(frozen=True, slots=True)
class Issue:
    """`line` counts from 1; what is of the file as a whole stands at its header's line."""

    line: int
    severity: Severity
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """What there is to say of a file."""

    header: Header
    valid: bool = True
    lines: dict[LineType, int] = field(default_factory=dict)
    """How many lines there are of each type, those of the header apart."""
    issues: list[Issue] = field(default_factory=list)
    issues_left_out: int = 0
    calls: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    """`in`, `out`, `cached`."""
    tokens_from: str = ""
    """Where they are from: `@end`, `header`, `lines`."""
    blobs: int = 0
    redacted: int = 0

    def as_json(self, file: str) -> dict[str, Any]:
        """The object that `--json` prints for a file."""
        more = {"issues_left_out": self.issues_left_out} if self.issues_left_out else {}
        return {
            "file": file,
            "valid": self.valid,
            "header": self.header.values,
            "lines": self.lines,
            "issues": [
                {"line": i.line, "severity": i.severity, "code": i.code, "message": i.message} for i in self.issues
            ],
            "calls": self.calls,
            "tokens": self.tokens,
            **more,
        }


def check_rlog(header: Header, lines: Iterable[RawLine], *, strict: bool = False) -> Report:
    """Everything that is wrong with a file, in file order, and its counts. Takes any text."""
    check = _Check(header, strict)
    take = check.take
    for number, text, is_damaged in lines:
        take(number, text, is_damaged)
    return check.finish()


class _Check:
    def __init__(self, header: Header, strict: bool) -> None:
        self._header, self._strict = header, strict
        self._report = Report(header)
        self._counts = dict.fromkeys(LINE_TYPES, 0)
        self._ids = IdTable()
        self._unended: dict[str, int] = {}
        """Ids that a `t!:` started and nothing has ended, each with its line."""
        self._last_step: int | None = None
        self._start_line = 0
        self._has_end = self._says_complete = False
        self._sums: dict[str, int] = dict.fromkeys(_TOKENS, 0)
        self._end_totals: dict[str, int] = {}
        self._check_header()

    def take(self, number: int, text: str, is_damaged: bool) -> None:
        kind, content = classify(text)
        self._counts[kind] += 1
        if kind in _CALLS:
            self._take_call(number, kind, content)
        elif kind == "lifecycle":
            self._take_lifecycle(number, content)
        elif kind == "comment":
            self._says_complete = self._says_complete or _COMPLETE.match(content) is not None
        elif kind == "unknown":
            shown = text if len(text) <= 50 else f"{text[:50]}…"
            self._add(number, "W003", f'unknown line "{shown}"')
        if is_damaged:
            self._add(number, "W010", "the line is not UTF-8")
        if "step=" in content:
            self._take_step(number, content)
        if "tokens_" in content:
            self._take_tokens(kind, content)
        if "sha256=" in text:
            self._take_blobs(number, text)
        if "[redacted:" in text:
            self._report.redacted += len(_REDACTED.findall(text))

    def _take_lifecycle(self, number: int, content: str) -> None:
        if content.startswith("start"):
            self._start_line = self._start_line or number
        elif content.startswith("end"):
            self._has_end = True

    def _take_step(self, number: int, content: str) -> None:
        step = number_of(content, "step=", U32)
        if step is None:
            return
        if self._last_step is not None and step < self._last_step:
            self._add(number, "W004", f"step {step} is lower than the step before, {self._last_step}")
        self._last_step = step

    def _take_tokens(self, kind: LineType, content: str) -> None:
        found = {name: number_of(content, key, U64) for name, key in _TOKENS.items()}
        given = {name: number for name, number in found.items() if number is not None}
        if kind == "lifecycle" and content.startswith("end"):
            self._end_totals = given or self._end_totals
            return
        for name, number in given.items():
            self._sums[name] += number

    def _take_blobs(self, number: int, text: str) -> None:
        for sha in _BLOB.findall(text):
            self._report.blobs += 1
            if len(sha) < 6:
                self._add(number, "W006", f'the blob\'s sha256 "{sha}" is shorter than 6 digits')

    def _take_call(self, number: int, kind: LineType, content: str) -> None:
        call = word_of(content, "id=")
        if call is None:
            self._report.calls += kind in ("tool", "tool_start", "subagent", "mcp")
            return
        if kind == "observation":
            if not self._end(call, _ENDED) & _CALLED:
                self._add(number, "W002", f'observation of "{call}", which is no call above')
        elif kind == "tool_progress":
            if not self._ids.flags(call) & _CALLED:
                self._add(number, "W001", f'progress of "{call}", which is no call above')
        elif kind == "tool_start":
            flags = self._ids.add(call, _CALLED)
            # Ids that were cut to eight characters collide: another call starts with the same one.
            self._report.calls += not (flags & _CALLED and _is_retry(content))
            if not flags & _ENDED and len(self._unended) < KEPT_STARTS:
                self._unended.setdefault(call, number)
        elif kind == "tool" and result_of(content) is not None:
            self._report.calls += not self._end(call, _CALLED | _ENDED) & _CALLED
        else:
            self._report.calls += not self._ids.add(call, _CALLED) & _CALLED and kind != "question"

    def _end(self, call: str, flags: int) -> int:
        """Note the end of a call; the flags that it had before."""
        self._unended.pop(call, None)
        return self._ids.add(call, flags)

    def finish(self) -> Report:
        report, at = self._report, self._header.line
        for call, line in self._unended.items():
            self._add(line, "W007", f'the call "{call}" never ends')
        if sum(self._counts.values()) > 50 and not self._start_line:
            self._add(at, "I001", "more than 50 lines and no @start")
        if self._start_line and not self._has_end:
            claims = self._strict and (self._says_complete or self._header_is_complete())
            self._add(self._start_line, "I002", "@start without @end", "error" if claims else "info")
        report.issues.sort(key=lambda issue: issue.line)
        report.lines = self._counts
        self._total()
        return report

    def _header_is_complete(self) -> bool:
        header = self._header
        return bool(self._header_totals() or header.text("duration"))

    def _header_totals(self) -> dict[str, int]:
        """The header's totals; nothing where all are 0, as writers leave them that never fill them in."""
        keys = ("tokens_total_in", "tokens_total_out", "tokens_cached")
        totals = {name: self._header.total(key) for name, key in zip(_TOKENS, keys, strict=True)}
        return {name: total for name, total in totals.items() if total is not None} if any(totals.values()) else {}

    def _total(self) -> None:
        header, report = self._header_totals(), self._report
        report.tokens = {**self._sums, **header, **self._end_totals}
        report.tokens_from = "@end" if self._end_totals else "header" if header else "lines"

    def _check_header(self) -> None:
        header = self._header
        for line, message in header.wrong:
            self._add(line, "W011", message)
        if header.missing:
            self._add(header.line, "E001", f"no session can be read: {header.missing}", "error")
            return
        form, sha = header.values["format"], header.values["repo_sha"]
        if form not in ("rlog/1", "rlog/1.0"):
            self._add(header.places["format"], "W008", f'format "{form}" is of another version than rlog/1')
        length = len(sha.encode("utf-8", "surrogatepass"))
        if not 6 <= length <= 40:
            self._add(header.places["repo_sha"], "W009", f'repo_sha "{sha}" has {length} characters, not 6 to 40')
        elif not _HEX.fullmatch(sha):
            self._add(header.places["repo_sha"], "W009", f'repo_sha "{sha}" is not hexadecimal')
        if header.text("mode") == "auto" and not header.text("sandbox_id"):
            self._add(header.line, "I003", "mode auto without a sandbox_id")
        if not header.text("runner"):
            self._add(header.line, "I004", "no runner")

    def _add(self, line: int, code: str, message: str, severity: Severity | None = None) -> None:
        if severity is None:
            severity = "info" if code[0] == "I" else "error" if self._strict and code in STRICT else "warn"
        if severity == "error":
            self._report.valid = False
        if len(self._report.issues) < KEPT_ISSUES:
            self._report.issues.append(Issue(line, severity, code, one_line(message)))
        else:
            self._report.issues_left_out += 1


def _is_retry(content: str) -> bool:
    return bool(_RETRY.search(content)) or (result_of(content) or "").startswith("[retry")
