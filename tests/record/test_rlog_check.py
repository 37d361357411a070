"""Every code of the validation table, lenient and strict, and what is counted."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.events import Event, RunStarted
from gptoss_flow.record import rlog_check
from gptoss_flow.record.id_table import IdTable
from gptoss_flow.record.rlog_check import Report, check_rlog
from gptoss_flow.record.rlog_lines import LINE_TYPES
from gptoss_flow.record.rlog_read import read_rlog
from tests.record.samples import a_run, any_event, run_started
from tests.record.test_rlog import FORGERIES, written

HEADER = "---\nformat: rlog/1\nid: a\nrepo_sha: 7112981e0\nrunner: r\n---\n"


def check(text: str | bytes, *, strict: bool = False) -> Report:
    header, lines = read_rlog(io.BytesIO(text if isinstance(text, bytes) else text.encode()))
    return check_rlog(header, lines, strict=strict)


def codes(text: str | bytes, *, strict: bool = False) -> list[tuple[int, str, str]]:
    return [(issue.line, issue.severity, issue.code) for issue in check(text, strict=strict).issues]


def as_bytes(body: str | bytes) -> bytes:
    return body if isinstance(body, bytes) else body.encode()


BODIES: list[tuple[str | bytes, list[tuple[int, str]]]] = [
    ("t~:x id=a", [(7, "W001")]),
    ("t!:x id=a\nt~:x id=a\no: id=a", []),
    ("t:x id=a → [ok]\nt~:x id=a", []),
    ("o: id=a", [(7, "W002")]),
    ("o: id=a\nt!:x id=a", [(7, "W002")]),
    ("o: no id", []),
    ("t:x id=a\nx:y id=b\nc:d.e id=c\nq: id=d\no: id=a\no: id=b\no: id=c\no: id=d", []),
    ("p:x id=a\no: id=a", [(8, "W002")]),
    ("what is this", [(7, "W003")]),
    ("a: step=2\nth: step=1\nu: step=1", [(8, "W004")]),
    ("what step=2\n  step=1", [(7, "W003"), (8, "W004")]),
    ("t:x → @blob sha256=abc @blob sha256=abcdef", [(7, "W006")]),
    ("t!:x id=a\nt!:x id=a → [retry 2/3]", [(7, "W007")]),
    ("t!:x id=a\nt:x id=a", [(7, "W007")]),
    ("t!:x id=a\nt:x id=a → [ok]", []),
    ("t:x id=a → [ok]\nt!:x id=a", []),
    ("\n" * 50 + "u:", [(1, "I001")]),
    ("\n" * 49 + "u:", []),
    ("@started\n" + "\n" * 60, [(7, "I002")]),
    ("@start\n@ending", []),
    (b"u: \xff", [(7, "W010")]),
    ("u: a\x1c\x85\u2028b\r\na: b\rc", []),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_the_codes_of_lines(body: str | bytes, expected: list[tuple[int, str]]) -> None:
    report = check(HEADER.encode() + as_bytes(body))
    assert [(issue.line, issue.code) for issue in report.issues] == expected
    assert {issue.severity for issue in report.issues} <= {"warn", "info"}
    assert report.valid


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rlog/1", "rlog/1.0", []),
        ("rlog/1", "rlog/2", [(2, "W008")]),
        ("7112981e0", "abcde", [(4, "W009")]),
        ("7112981e0", "0" * 41, [(4, "W009")]),
        ("7112981e0", "0" * 40, []),
        ("7112981e0", "ABCDEF", []),
        ("7112981e0", "unknown", [(4, "W009")]),
        ("runner: r", "", [(1, "I004")]),
        ("runner: r", "runner:", [(1, "I004")]),
        ("runner: r", "runner: r\nmode: auto", [(1, "I003")]),
        ("runner: r", "runner: r\nmode: auto\nsandbox_id: 1", []),
        ("runner: r", "runner: r\ndirty: 1", [(6, "W011")]),
    ],
)
def test_the_codes_of_the_header(old: str, new: str, expected: list[tuple[int, str]]) -> None:
    report = check(HEADER.replace(old, new))
    assert [(issue.line, issue.code) for issue in report.issues] == expected
    assert report.valid
    strict = {
        issue.code for issue in check(HEADER.replace(old, new), strict=True).issues if issue.severity == "error"
    }
    assert strict == {code for _, code in expected if code[0] == "W"}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("text", "line", "counted"),
    [
        ("", 1, {}),
        ("u: a\na: b", 1, {"user": 1, "agent": 1}),
        ("x\n---\nid: a\nu: c\n", 2, {"user": 1, "unknown": 3}),
        ("x\n ---\t\nformat: rlog/1\nrepo_sha: abcdef\n---\nu: a", 2, {"user": 1}),
        ("---\nformat: rlog/1\nid:\nrepo_sha: abcdef\n---\nu: a\n\n", 1, {"user": 1, "empty": 1}),
        ("---\nformat: bbox/1\nid: a\nrepo_sha: abcdef\n---\nu: a", 1, {"user": 1}),
        ("\ufeff---\nformat: rlog/1\n---\nu: a", 3, {"user": 1, "unknown": 3}),
    ],
)
def test_where_no_session_can_be_read_the_lines_are_still_counted(
    text: str, line: int, counted: dict[str, int], strict: bool
) -> None:
    report = check(text, strict=strict)
    assert not report.valid
    assert [(i.line, i.severity) for i in report.issues if i.code == "E001"] == [(line, "error")]
    assert {kind: number for kind, number in report.lines.items() if number} == counted


@pytest.mark.parametrize("code", ["W002", "W003", "W004", "W007", "W010"])
def test_strict_makes_errors_of_what_breaks_the_rules(code: str) -> None:
    body = next(body for body, expected in BODIES if [c for _, c in expected] == [code])
    report = check(HEADER.encode() + as_bytes(body), strict=True)
    assert not report.valid
    assert [(issue.code, issue.severity) for issue in report.issues] == [(code, "error")]


def test_strict_leaves_the_other_codes_as_they_are() -> None:
    assert codes(HEADER + "t~:x id=a\nt:x → @blob sha256=ab", strict=True) == [
        (7, "warn", "W001"),
        (8, "warn", "W006"),
    ]


def test_a_start_without_end_is_an_error_only_where_the_file_claims_to_be_complete() -> None:
    assert codes(HEADER + "@start\n", strict=True) == [(7, "info", "I002")]
    assert codes(HEADER + "@start\n# status: Completed\n", strict=True) == [(7, "error", "I002")]
    for claim in ("tokens_total_out: 7", "duration: 3m"):
        text = HEADER.replace("runner: r", f"runner: r\n{claim}") + "@start\n"
        assert codes(text, strict=True) == [(8, "error", "I002")]
        assert codes(text) == [(8, "info", "I002")]
    assert (
        codes(HEADER.replace("runner: r", "runner: r\ntokens_total_in: 0") + "@start", strict=True)[0][1] == "info"
    )


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ("t!:x id=a → [running]\nt:x id=a → [ok]", 1),
        ("t!:x id=a → [running]\no: id=a → [ok]\nt:x id=a → [ok]", 1),
        ("t:x id=a → [ok]\nt:x → [ok]\nt:x", 3),
        ("t!:x id=a\nt:x id=a attempt=1/3 → [err: m]\nt!:x id=a attempt=2/3 → [retry 2/3]\nt:x id=a → [ok]", 1),
        ("t!:x id=a\nt!:x id=a attempt=2", 1),
        ("t!:x id=toolu_01\nt!:y id=toolu_01\no: id=toolu_01\no: id=toolu_01", 2),
        ("x:explore id=a → [started]\nx:explore id=a → [done]\nc:d.e id=b\nc:d.e", 3),
        ("q: id=a\nt~:x id=b\no: id=c", 0),
    ],
)
def test_a_call_is_counted_once(body: str, calls: int) -> None:
    assert check(HEADER + body).calls == calls


@pytest.mark.parametrize(
    ("header", "body", "tokens", "source"),
    [
        ("", "a: tokens_in=1 tokens_out=2\nt!:x tokens_in=3\nwhat tokens_cached=4", (4, 2, 4), "lines"),
        ("tokens_total_in: 0\ntokens_cached: 0\n", "a: tokens_in=1 tokens_cached=1", (1, 0, 1), "lines"),
        ("tokens_total_in: 9\ntokens_total_out: 0\n", "a: tokens_in=1 tokens_out=1", (9, 0, 0), "header"),
        (
            "tokens_total_in: 9\ntokens_cached: 3\n",
            "@end tokens_in=1\n@end tokens_in=2 tokens_out=5",
            (2, 5, 3),
            "@end",
        ),
        ("", "a: tokens_in=1\n@end tokens_in=7 tokens_out=0\n@resume\n@end x", (7, 0, 0), "@end"),
    ],
)
def test_totals_are_those_of_the_end_else_of_the_header_else_the_sum(
    header: str, body: str, tokens: tuple[int, int, int], source: str
) -> None:
    report = check(HEADER.replace("runner: r\n", f"runner: r\n{header}") + body)
    assert tuple(report.tokens[key] for key in ("in", "out", "cached")) == tokens
    assert report.tokens_from == source


def test_the_object_of_a_file_has_these_keys() -> None:
    shown: dict[str, Any] = json.loads(json.dumps(check(HEADER + "u: [redacted:key]\nhm").as_json("x.rlog")))
    assert list(shown) == ["file", "valid", "header", "lines", "issues", "calls", "tokens"]
    assert shown["header"] == {"format": "rlog/1", "id": "a", "repo_sha": "7112981e0", "runner": "r"}
    assert shown["lines"] == {**dict.fromkeys(LINE_TYPES, 0), "user": 1, "unknown": 1}
    assert shown["issues"] == [{"line": 8, "severity": "warn", "code": "W003", "message": 'unknown line "hm"'}]
    assert (shown["calls"], shown["tokens"]) == (0, {"in": 0, "out": 0, "cached": 0})


def test_an_unknown_line_is_shown_by_its_first_fifty_characters_made_visible() -> None:
    (issue,) = check(HEADER + "\x1b" + "y" * 60).issues
    assert issue.message == f'unknown line "\\x1b{"y" * 49}…"'


def test_of_very_many_issues_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rlog_check, "KEPT_ISSUES", 3)
    report = check(HEADER + "hm\n" * 5, strict=True)
    assert (len(report.issues), report.issues_left_out, report.valid) == (3, 2, False)
    assert report.as_json("x")["issues_left_out"] == 2


@given(
    st.binary()
    | st.lists(st.sampled_from([b"---\n", b"id: a\n", b"\xff", b"t!:x id=a", b"\r\n", b"\n"])).map(b"".join)
)
def test_any_bytes_can_be_checked(data: bytes) -> None:
    for strict in (False, True):
        json.dumps(check(data, strict=strict).as_json("x"))


# --- what we write ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["It adds.", *FORGERIES])
def test_our_own_logs_are_valid_in_strict_mode(tmp_path: Path, text: str) -> None:
    report = check(written(tmp_path / "run.rlog", a_run(text)), strict=True)
    assert [issue for issue in report.issues if issue.code != "I004"] == []
    assert (report.calls, report.tokens_from) == (1, "@end")  # a tool's: the trial of a bench is none


@settings(max_examples=60)
@given(st.lists(any_event.filter(lambda event: not isinstance(event, RunStarted)), max_size=6))
def test_whatever_happens_every_line_of_ours_has_a_type(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    report = check(written(tmp_path_factory.mktemp("rlog") / "run.rlog", [run_started(), *events]), strict=True)
    odd = {"W003", "W004", "W008", "W009", "W010", "W011", "E001"}
    assert [issue for issue in report.issues if issue.code in odd] == []
    assert (report.lines["unknown"], report.lines["continuation"]) == (0, 0)


# --- the table of ids -------------------------------------------------------------------------------------------


def test_the_table_of_ids_remembers_as_a_dictionary_does() -> None:
    choose = random.Random(7)
    table, known = IdTable(), dict[str, int]()
    for _ in range(20_000):
        call, flags = f"call_{choose.randrange(8000)}", choose.choice((1, 2))
        assert table.flags(call) == known.get(call, 0)
        assert table.add(call, flags) == known.get(call, 0)
        known[call] = known.get(call, 0) | flags
    assert len(table) == len(known)
