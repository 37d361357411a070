"""Columns of text, and what becomes of the last one where it is narrow."""

from __future__ import annotations

import pytest

from gptoss_flow.ui.table import table

HEAD, ROWS = ("NAME", "ABOUT"), [("a", "one two three four five"), ("b", "")]


def test_the_last_column_is_broken_where_the_terminal_ends() -> None:
    assert table(HEAD, ROWS, 22).split("\n") == ["NAME  ABOUT", "a     one two three", "      four five", "b"]


def test_it_stands_below_the_others_where_there_is_no_room_beside_them() -> None:
    lines = ["NAME", "    ABOUT", "a", "    one two", "    three four", "    five", "b"]
    assert table(HEAD, ROWS, 16).split("\n") == lines


@pytest.mark.parametrize("width", [None, 80])
def test_it_stays_in_one_line_where_there_is_room(width: int | None) -> None:
    assert table(HEAD, ROWS, width).split("\n") == ["NAME  ABOUT", "a     one two three four five", "b"]
