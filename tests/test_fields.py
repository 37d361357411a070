"""Durations and sizes in the words of people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.fields import duration_text, parse_duration, parse_size, size_text


@given(st.integers(0, 10**9))
def test_a_duration_is_read_as_it_was_written(milliseconds: int) -> None:
    text = duration_text(milliseconds / 1000)
    assert round(parse_duration(text if milliseconds else float(text)) * 1000) == milliseconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "-1"), (0, "0"), (0.25, "250ms"), (600, "10m"), (5400, "1h30m"), (90061, "1d1h1m1s")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.integers(0, 2**50) | st.integers(0, 1000).map(lambda count: count * 2**20))
def test_a_size_is_read_as_it_was_written(count: int) -> None:
    assert parse_size(size_text(count)) == count


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0"), (98362432, "98362432"), (16 * 2**20, "16MiB"), (2**33, "8GiB")]
)
def test_sizes_are_written_as_people_do(count: int, text: str) -> None:
    assert size_text(count) == text
