"""The header's values are text as it stands, typed by key; no YAML guess changes one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.rlog_header import read_header

GOOD = ["format: rlog/1", "id: a", "repo_sha: 7112981e0"]


def values(*lines: str) -> dict[str, Any]:
    return read_header([*GOOD, *lines], 1).values


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("repo_sha: 7112981e0", "7112981e0"),
        ("repo_sha: 1234567", "1234567"),
        ("id: 0x1F", "0x1F"),
        ("version: 1.10", "1.10"),
        ("branch: yes", "yes"),
        ("branch: true", "true"),
        ("cwd: C:\\a: b", "C:\\a: b"),
        ("model: a#b # c", "a#b"),
        ('client_version: "2.0.71"', "2.0.71"),
        ('notes: "a \\"b\\" \\u00e9" # c', 'a "b" é'),
        ("notes: 'it''s'", "it's"),
        ('"notes": x', "x"),
        ("notes :  x ", "x"),
        ("branch:", ""),
        ("branch: ~", None),
        ("dirty: true", True),
        ("dirty: False", False),
        ("tokens_total_in: 18446744073709551615", 2**64 - 1),
        ("skills: [a, 1.0, 'b']", ["a", "1.0", "b"]),
        ("mcp: []", []),
        ("toolset: {read: true}", {"read": True}),
        ("toolset: [a, 1]", ["a", 1]),
    ],
)
def test_a_value_is_typed_by_its_key(line: str, value: Any) -> None:
    header = read_header([*GOOD[:2], line] if line.startswith("repo_sha") else [*GOOD, line], 1)
    key = line.partition(":")[0].strip().strip('"')
    assert header.values.get(key) == value
    assert [wrong for wrong in header.wrong if "twice" not in wrong[1]] == []


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("tokens_cache_create: 12", 12),
        ("cost_usd: 0.0330", 0.033),
        ("extra.other_sha: 7112981e0", "7112981e0"),
        ("extra.huge: 99999999999999999999", "99999999999999999999"),
        ("extra.code: 007", "007"),
        ("started_at: 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("extra.x: {a: [1, b]}", {"a": [1, "b"]}),
        ("extra.x:", None),
        ("extra.x: [1", "[1"),
    ],
)
def test_keys_that_the_format_does_not_know_are_kept_in_extra(line: str, value: Any) -> None:
    assert values(line)["extra"] == {line.partition(":")[0]: value}


def test_values_of_several_lines_are_read() -> None:
    assert values("skills:", "  - a", "  - 1e3", "mcp:", "- b")["skills"] == ["a", "1e3"]
    assert values("skills:", "  - a", "mcp:", "- b # c")["mcp"] == ["b"]
    assert values("notes: |", "  one", "  two")["notes"] == "one\ntwo\n"
    assert values("toolset:", "  read: {max: 3}", "  # c", "  list: true")["toolset"] == {
        "read": {"max": 3},
        "list": True,
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("dirty: maybe", '"dirty" should be true or false'),
        ('dirty: "true"', '"dirty" should be true or false'),
        ("tokens_total_in: -1", "should be a whole number"),
        ("tokens_total_in: 18446744073709551616", "should be a whole number"),
        ("tokens_cached: 1e3", "should be a whole number"),
        ("skills: a", "should be a list of text"),
        ("mcp: {a: b}", "should be a list of text"),
        ("branch: [a]", "should be text"),
        ("toolset: {a", "should be valid YAML"),
        ("no key", "is no key"),
        ("id: b", '"id" is given twice'),
    ],
)
def test_a_value_of_the_wrong_form_is_told_and_kept(line: str, said: str) -> None:
    header = read_header([*GOOD, line], 1)
    ((at, message),) = header.wrong
    assert at == 5 and said in message
    assert header.missing == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["id: a", "repo_sha: abcdef"], 'has no "format"'),
        (["format: rlog/1", "id: ", "repo_sha: abcdef"], '"id" in the header is empty'),
        (["format: rlog/1", 'id: ""', "repo_sha: abcdef"], '"id" in the header is empty'),
        (["format: rlog/1", "id: a", "repo_sha: ~"], '"repo_sha" in the header is empty'),
        (["format: bbox/1", "id: a", "repo_sha: abcdef"], 'does not start with "rlog/"'),
        (["format: [rlog/1]", "id: a", "repo_sha: abcdef"], 'does not start with "rlog/"'),
    ],
)
def test_without_format_id_and_repo_sha_no_session_can_be_read(lines: list[str], said: str) -> None:
    assert said in read_header(lines, 1).missing


@given(st.lists(st.text() | st.sampled_from([*GOOD, "skills:", " - a", "toolset: {", "x: !!a [", "notes: |"])))
def test_any_lines_can_be_a_header(lines: list[str]) -> None:
    read_header(lines, 1)
