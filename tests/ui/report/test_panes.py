"""Panes as they are drawn."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.escape import is_unsafe
from gptoss_flow.tools.ui_pane.panes import Frame
from gptoss_flow.ui.report import panes as drawing
from gptoss_flow.ui.report.panes import draw_panes, wrapped
from tests.ui.test_panes import pane, screen


def test_no_panes_no_screen() -> None:
    assert draw_panes(screen()) is None


def test_the_screen_is_as_large_as_its_panes_and_closed_ones_are_not_drawn() -> None:
    drawn = draw_panes(screen(pane("a", x=2000, width=500), pane("b"), pane("b", state="closed")))
    assert drawn is not None
    assert (drawn.width, drawn.height) == (2524, 450)
    assert [(each.pane.id, each.since, each.until) for each in drawn.panes] == [("a", 1, 4), ("b", 2, 3)]
    assert drawn.told == "a (normal, open)"


def test_panes_lie_above_each_other_by_priority_and_then_by_level() -> None:
    made = screen(pane("c", priority="critical"), pane("a", level=2), pane("b", level=1))
    drawn = draw_panes(made)
    assert drawn is not None
    assert [each.pane.id for each in drawn.panes] == ["b", "a", "c"]


def test_of_many_changes_the_last_can_be_stepped_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "SHOWN", 3)
    drawn = draw_panes(screen(*(pane("a", x=n) for n in range(10))))
    assert drawn is not None
    assert (drawn.first, drawn.last, len(drawn.changes)) == (8, 10, 3)
    assert [(each.since, each.until) for each in drawn.panes] == [(8, 9), (9, 10), (10, 11)]


@pytest.mark.parametrize("frame", get_args(Frame))
def test_every_frame_has_a_path_of_its_own(frame: str) -> None:
    drawn = draw_panes(screen(pane("a", frame=frame, width=20, height=20), pane("b", frame=frame)))
    assert drawn is not None
    for each in drawn.panes:
        assert each.frame.startswith("M")
        assert "-" not in each.frame, "nothing is drawn outside, however small the pane"
    paths = {draw_panes(screen(pane("a", frame=name))).panes[0].frame for name in get_args(Frame)}  # type: ignore[union-attr]
    assert len(paths) == len(get_args(Frame))


@given(st.text(), st.integers(1, 20), st.integers(0, 8))
def test_text_is_broken_into_lines_that_fit_and_loses_but_spaces(text: str, columns: int, rows: int) -> None:
    lines = wrapped(text, columns, rows)
    assert len(lines) <= rows
    assert all(len(line) <= columns or not line.isascii() for line in lines)
    if len(lines) < rows and text.isascii() and text.isprintable():
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert not any(is_unsafe(char) for line in lines for char in line)
