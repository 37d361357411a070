"""The fold of pane calls: what is on the screen, live and in a record."""

from __future__ import annotations

from typing import Any

from gptoss_flow.events import ToolFinished, ToolStarted
from gptoss_flow.ui.panes import Screen


def screen(*results: Any, error: str | None = None) -> Screen:
    made = Screen()
    for number, result in enumerate(results):
        call = {"step": "s", "call_id": f"s.{number}", "tool": "ui_pane"}
        made.apply(ToolStarted(**call, arguments={"action": "create"}), number)
        made.apply(ToolFinished(**call, result=result, error=error), number)
    return made


def pane(name: str, **more: Any) -> dict[str, Any]:
    return {"pane": {"id": name, **more}}


def test_a_pane_has_a_version_for_each_change_and_the_focus_leaves_the_others() -> None:
    made = screen(pane("a", focused=True), pane("b", focused=True), pane("a", x=5))
    assert [(v.pane.id, v.pane.focused, v.pane.x, v.since, v.until) for v in made.versions] == [
        ("a", True, 100, 1, 2),
        ("a", False, 100, 2, 3),
        ("b", True, 100, 2, None),
        ("a", False, 5, 3, None),
    ]
    assert [(change.action, change.step) for change in made.changes] == [("create", "s")] * 3


def test_what_is_no_pane_or_was_refused_is_passed_over() -> None:
    for odd in (None, [], {}, {"panes": []}, {"pane": 3}, pane("a", x="5"), pane("a", x=-1), pane("no id")):
        assert screen(odd).panes == {}
    assert screen(pane("a"), error="refused").panes == {}
    other = Screen()
    other.apply(ToolFinished(step="s", call_id="1", tool="other", result=pane("a")), 0)
    assert other.panes == {}
