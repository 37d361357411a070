"""What panes are, and what each call makes of them: a pure state machine, one function for each action."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from gptoss_flow.fields import Strict
from gptoss_flow.tools.base import Arguments
from gptoss_flow.tools.workspace import refusal
from gptoss_flow.words import suggest

MAX_PANES = 64

State = Literal["open", "minimized", "closed"]
Priority = Literal["background", "normal", "elevated", "urgent", "critical"]
Frame = Literal["corners", "lines", "octagon", "underline", "nefrex", "kranox"]
Animation = Literal["slide_in", "slide_out", "fade_in", "fade_out", "pulse", "glow", "shake"]
Action = Literal[
    "list",
    "create",
    "set_content",
    "move",
    "resize",
    "set_priority",
    "focus",
    "set_state",
    "set_frame",
    "animate",
    "glow",
    "request_attention",
    "close",
]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
"""From the least to the most urgent."""

Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
Title = Annotated[str, Field(max_length=200)]
Content = Annotated[str, Field(max_length=8000)]
Place = Annotated[int, Field(ge=0, le=10_000)]
Length = Annotated[int, Field(ge=20, le=10_000)]


class Pane(Strict):
    """A pane as it is between two calls."""

    id: Id
    title: Title = ""
    content: Content = ""
    x: Place = 100
    y: Place = 100
    width: Length = 400
    height: Length = 300
    state: State = "open"
    priority: Priority = "normal"
    frame: Frame = "lines"
    focused: bool = False
    glow: bool = False
    attention: str | None = None
    """What it wants attention for; null where it wants none."""
    animation: Animation | None = None
    """The one that its last change played."""
    level: Annotated[int, Field(ge=0)] = 0
    """Of panes of one priority, the one with the higher level lies above."""


Panes = Mapping[str, Pane]


class UiPane(Arguments):
    action: Action
    """What to do. `list` needs no more; every other action needs `id`."""
    id: Id | None = None
    """The pane: letters, digits, `_`, `.`, `-`."""
    title: Title | None = None
    """For create, set_content."""
    content: Content | None = None
    """Plain text. For create, set_content."""
    x: Place | None = None
    """Pixels from the left. For create (default 100), move."""
    y: Place | None = None
    """Pixels from the top. For create (default 100), move."""
    width: Length | None = None
    """For create (default 400), resize."""
    height: Length | None = None
    """For create (default 300), resize."""
    state: State | None = None
    """For create (default open), set_state."""
    priority: Priority | None = None
    """For create (default normal), set_priority."""
    frame: Frame | None = None
    """For create (default lines), set_frame."""
    animation: Animation | None = None
    """For animate."""
    on: bool | None = None
    """For glow: whether it glows; default true."""
    message: Annotated[str, Field(max_length=200)] | None = None
    """For request_attention: what for."""

    @model_validator(mode="after")
    def _arguments_fit_the_action(self) -> UiPane:
        given = {name for name in self.model_fields_set - {"action"} if getattr(self, name) is not None}
        needed, optional = TAKES[self.action]
        if missing := [name for name in needed if name not in given]:
            raise ValueError(f'the action "{self.action}" needs {" and ".join(missing)}')
        if more := sorted(given - {*needed, *optional}):
            takes = ", ".join((*needed, *optional)) or "nothing"
            raise ValueError(f'the action "{self.action}" takes {takes}, not {", ".join(more)}')
        if self.action == "set_content" and not given & {"title", "content"}:
            raise ValueError('the action "set_content" needs content or title')
        return self


def applied(panes: Panes, call: UiPane) -> tuple[Panes, Pane | None]:
    """The panes after a call, and the one that it was about. Raises `StepError`."""
    if call.action == "list":
        return panes, None
    assert call.id is not None
    if call.action == "create":
        pane = _created(panes, call)
    else:
        before = panes.get(call.id)
        if before is None:
            raise refusal(
                f'there is no pane "{call.id}"; {suggest(call.id, panes) if panes else "create it first"}'
            )
        if before.state == "closed" and call.action not in ("set_state", "close"):
            raise refusal(f'pane "{call.id}" is closed; open it with set_state first')
        pane = _CHANGES[call.action](before.model_copy(update={"animation": None}), call)
        if pane.state != "open":
            pane = pane.model_copy(update={"focused": False})
        if pane.focused and not before.focused:
            pane = pane.model_copy(update={"level": _above(panes)})
    return with_pane(panes, pane), pane


def with_pane(panes: Panes, pane: Pane) -> Panes:
    """The panes with this one as it is now; where it has the focus, no other has."""
    others = {
        key: other.model_copy(update={"focused": False}) if pane.focused and other.focused else other
        for key, other in panes.items()
    }
    return {**others, pane.id: pane}


def in_order(panes: Panes) -> list[Pane]:
    """The panes from the lowest to the highest."""
    return sorted(panes.values(), key=lambda pane: (PRIORITIES.index(pane.priority), pane.level))


def _created(panes: Panes, call: UiPane) -> Pane:
    assert call.id is not None
    if call.id in panes:
        closed = panes[call.id].state == "closed"
        raise refusal(
            f'there is a pane "{call.id}" already; '
            + ("open it again with set_state" if closed else "change it, or choose another id")
        )
    if len(panes) >= MAX_PANES:
        raise refusal(f"there are {MAX_PANES} panes, which is the most; use one of them")
    return Pane.model_validate({**_given(call), "level": _above(panes)})


def _above(panes: Panes) -> int:
    return max((pane.level for pane in panes.values()), default=-1) + 1


def _given(call: UiPane) -> dict[str, Any]:
    return {key: value for key, value in call.model_dump(exclude={"action"}).items() if value is not None}


def _set(pane: Pane, call: UiPane) -> Pane:
    return pane.model_copy(update=_given(call))


def _focus(pane: Pane, call: UiPane) -> Pane:
    """What has the focus is open, and has the attention that it wanted."""
    return pane.model_copy(update={"focused": True, "state": "open", "attention": None})


def _glow(pane: Pane, call: UiPane) -> Pane:
    return pane.model_copy(update={"glow": call.on is not False})


def _attention(pane: Pane, call: UiPane) -> Pane:
    return pane.model_copy(update={"attention": call.message or ""})


def _close(pane: Pane, call: UiPane) -> Pane:
    return pane.model_copy(update={"state": "closed", "attention": None})


TAKES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "list": ((), ()),
    "create": (("id",), ("title", "content", "x", "y", "width", "height", "state", "priority", "frame")),
    "set_content": (("id",), ("content", "title")),
    "move": (("id", "x", "y"), ()),
    "resize": (("id", "width", "height"), ()),
    "set_priority": (("id", "priority"), ()),
    "focus": (("id",), ()),
    "set_state": (("id", "state"), ()),
    "set_frame": (("id", "frame"), ()),
    "animate": (("id", "animation"), ()),
    "glow": (("id",), ("on",)),
    "request_attention": (("id",), ("message",)),
    "close": (("id",), ()),
}
"""Each action with the arguments that it needs, and those that it may have."""

_CHANGES: Mapping[str, Callable[[Pane, UiPane], Pane]] = {
    **dict.fromkeys(("set_content", "move", "resize", "set_priority", "set_state", "set_frame", "animate"), _set),
    "focus": _focus,
    "glow": _glow,
    "request_attention": _attention,
    "close": _close,
}
