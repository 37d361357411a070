"""The tool `ui_pane`: what each action makes of the panes of a run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gptoss_flow.errors import StepError
from gptoss_flow.ports import Kept, ToolContext
from gptoss_flow.tools.ui_pane.panes import (
    MAX_PANES,
    TAKES,
    Action,
    Animation,
    Frame,
    Pane,
    Panes,
    Priority,
    State,
    UiPane,
    applied,
    in_order,
)
from gptoss_flow.tools.ui_pane.tool import UI_PANE

Do = Callable[..., Any]


@pytest.fixture
def do(tmp_path: Any) -> Do:
    """Calls the tool, as the steps of one run do."""
    kept = Kept()

    def do(action: str, pane: str | None = None, **more: Any) -> Any:
        arguments = {"action": action, **({"id": pane} if pane else {}), **more}
        result = asyncio.run(UI_PANE.call(arguments, ToolContext(workspace=tmp_path, kept_for_run=kept)))
        return result.get("pane", result)

    return do


def refused(do: Do, said: str, *args: Any, **more: Any) -> None:
    with pytest.raises(StepError, match=said) as caught:
        do(*args, **more)
    assert not caught.value.retryable


def test_a_pane_begins_as_the_defaults_say(do: Do) -> None:
    assert do("create", "a") == {
        "id": "a",
        "title": "",
        "content": "",
        "x": 100,
        "y": 100,
        "width": 400,
        "height": 300,
        "state": "open",
        "priority": "normal",
        "frame": "lines",
        "focused": False,
        "glow": False,
        "attention": None,
        "animation": None,
        "level": 0,
    }
    assert [pane["id"] for pane in do("list")["panes"]] == ["a"]


def test_each_action_changes_what_it_says_and_tells_it(do: Do) -> None:
    do("create", "a", title="A", x=1, y=2, width=30, height=40, priority="urgent", frame="kranox", content="text")
    for action, more, told in [
        ("move", {"x": 5, "y": 6}, {"x": 5, "y": 6}),
        ("resize", {"width": 50, "height": 60}, {"width": 50, "height": 60}),
        ("set_priority", {"priority": "critical"}, {"priority": "critical"}),
        ("set_content", {"content": "new"}, {"content": "new", "title": "A"}),
        ("set_content", {"title": "B"}, {"content": "new", "title": "B"}),
        ("set_frame", {"frame": "corners"}, {"frame": "corners"}),
        ("animate", {"animation": "shake"}, {"animation": "shake"}),
        ("glow", {}, {"glow": True, "animation": None}),
        ("glow", {"on": False}, {"glow": False}),
        ("request_attention", {"message": "look"}, {"attention": "look"}),
        ("focus", {}, {"focused": True, "attention": None, "level": 1}),
        ("set_state", {"state": "minimized"}, {"state": "minimized", "focused": False}),
        ("request_attention", {}, {"attention": "", "state": "minimized"}),
        ("focus", {}, {"state": "open", "focused": True}),
        ("close", {}, {"state": "closed", "focused": False, "attention": None}),
    ]:
        pane = do(action, "a", **more)
        assert {key: pane[key] for key in told} == told, action


def test_one_pane_has_the_focus_and_lies_above_those_of_its_priority(do: Do) -> None:
    for name in "abc":
        do("create", name, priority="critical" if name == "c" else "normal")
    do("focus", "b")
    do("focus", "a")
    panes = do("list")["panes"]
    assert [pane["id"] for pane in panes] == ["b", "a", "c"]
    assert [pane["id"] for pane in panes if pane["focused"]] == ["a"]


def test_ids_are_used_once_and_unknown_ones_are_named(do: Do) -> None:
    refused(do, 'there is no pane "status"; create it first', "focus", "status")
    do("create", "status")
    refused(do, 'there is a pane "status" already; change it, or choose another id', "create", "status")
    refused(do, 'there is no pane "statsu"; did you mean "status"?', "focus", "statsu")
    do("close", "status")
    refused(do, 'there is a pane "status" already; open it again with set_state', "create", "status")
    refused(do, 'pane "status" is closed; open it with set_state first', "move", "status", x=1, y=1)
    assert do("set_state", "status", state="open")["state"] == "open"


def test_the_most_panes_are_bounded(do: Do) -> None:
    for n in range(MAX_PANES):
        do("create", f"p{n}")
    refused(do, "there are 64 panes, which is the most", "create", "one-more")


def test_an_action_takes_its_own_arguments_alone(do: Do) -> None:
    refused(do, 'the action "move" needs id and x and y', "move")
    refused(do, 'the action "move" needs y', "move", "a", x=1)
    refused(do, 'the action "focus" takes id, not frame, x', "focus", "a", x=1, frame="lines")
    refused(do, 'the action "list" takes nothing, not id', "list", "a")
    refused(do, 'the action "set_content" needs content or title', "set_content", "a")
    refused(do, 'action must be one of "list", "create"', "explode", "a")
    refused(do, 'frame must be one of "corners"|frame must be', "create", "a", frame="round")
    refused(do, "id", "create", "a b")
    refused(do, "x must be at most 10000", "create", "a", x=10_001)


def test_every_action_is_in_the_table() -> None:
    assert TAKES.keys() == set(get_args(Action))


names = st.sampled_from(["a", "b", "c"])
values: dict[str, st.SearchStrategy[Any]] = {
    "id": names,
    "title": st.text(max_size=3),
    "content": st.text(max_size=3),
    **dict.fromkeys(("x", "y"), st.integers(0, 10_000)),
    **dict.fromkeys(("width", "height"), st.integers(20, 10_000)),
    "state": st.sampled_from(get_args(State)),
    "priority": st.sampled_from(get_args(Priority)),
    "frame": st.sampled_from(get_args(Frame)),
    "animation": st.sampled_from(get_args(Animation)),
    "on": st.booleans(),
    "message": st.text(max_size=3),
}


@st.composite
def calls(draw: st.DrawFn) -> UiPane:
    action = draw(st.sampled_from(list(TAKES)))
    needed, optional = TAKES[action]
    given_ = {name: draw(values[name]) for name in needed}
    given_ |= {name: draw(values[name]) for name in optional if draw(st.booleans())}
    try:
        return UiPane.model_validate({"action": action, **given_})
    except ValidationError:
        assert action == "set_content"
        return UiPane(action="list")


@given(st.lists(calls(), max_size=30))
def test_any_calls_leave_panes_that_are_sound(made: list[UiPane]) -> None:
    panes: Panes = {}
    for call in made:
        before = dict(panes)
        try:
            panes, pane = applied(panes, call)
        except StepError:
            assert panes == before
            continue
        assert pane is None or panes[pane.id] is pane
        assert sum(each.focused for each in panes.values()) <= 1
        for each in panes.values():
            assert Pane.model_validate(each.model_dump()) == each
            assert each.state == "open" or not each.focused
        assert len(in_order(panes)) == len(panes)
