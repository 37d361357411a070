"""Inline fields: the first hit anywhere, at a word boundary, within the format's limits."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.rlog_fields import Fields, read_fields


@pytest.mark.parametrize(
    ("content", "field", "value"),
    [
        ("read id=call_1 x", "call_id", "call_1"),
        ("read id=call-1", "call_id", "call"),
        ("he said id=7, then id=8", "call_id", "7"),
        ("id= then id=8", "call_id", "8"),
        ("id=é²", "call_id", "é"),
        ("tid=3 sid=4", "call_id", None),
        ("éid=4", "call_id", None),
        ("-id=4", "call_id", "4"),
        ("tid=a.b", "tid", "a"),
        ("span=each_0", "span", "each_0"),
        ("level=warn", "level", "warn"),
        ("step=007", "step", 7),
        ("step=4294967295", "step", 4294967295),
        ("step=4294967296 step=1", "step", None),
        ("step=٣ step=1", "step", None),
        ("step=x step=1", "step", 1),
        ("latency_ms=18446744073709551615", "latency_ms", 18446744073709551615),
        ("latency_ms=18446744073709551616", "latency_ms", None),
        ("latency_ms=" + "9" * 5000, "latency_ms", None),
        ("latency_ms=" + "0" * 5000 + "9", "latency_ms", 9),
        ("tokens_in=1 tokens_out=2 tokens_cached=3", "tokens_in", 1),
        ("tokens_in=1 tokens_out=2 tokens_cached=3", "tokens_out", 2),
        ("tokens_in=1 tokens_out=2 tokens_cached=3", "tokens_cached", 3),
        ("ts=2026-01-01T00:00:00.123Z", "timestamp", "2026-01-01T00:00:00.123Z"),
        ("ts=2026-01-01T00:00:00+01:00", "timestamp", "2026-01-01T00:00:00"),
        ("ts=2026-01-01 00:00:00", "timestamp", None),
        ("attempt=2/3.", "attempt", "2/3"),
        ("attempt=2/", "attempt", "2"),
        ("parent=ab-12x", "parent", "ab-12"),
        ("parent=Ab", "parent", None),
        ("sig=E,p4... x", "sig", "E,p4..."),
        ("model=a\u2003b", "model", "a"),
        ("x → [ok] id=3 → b", "result", "[ok] id=3 → b"),
        ("x →", "result", None),
        ("x -> [ok]", "result", None),
        ("was interrupted.", "interrupted", True),
        ("uninterrupted interruptedly", "interrupted", False),
        ("uninterrupted, interrupted", "interrupted", True),
    ],
)
def test_a_field_is_the_first_hit_anywhere(content: str, field: str, value: Any) -> None:
    assert getattr(read_fields(content), field) == value


def test_only_fields_that_are_there_are_given() -> None:
    assert read_fields("nothing").given() == {}
    assert read_fields("id=a step=0 interrupted → x").given() == {
        "call_id": "a", "step": 0, "result": "x", "interrupted": True,
    }  # fmt: skip


@given(st.text())
def test_any_text_can_be_read(content: str) -> None:
    assert isinstance(read_fields(content), Fields)
