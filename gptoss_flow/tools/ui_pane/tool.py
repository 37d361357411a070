"""The tool `ui_pane`: panes that the report and the progress view draw."""

from __future__ import annotations

from gptoss_flow.events import Json
from gptoss_flow.ports import Kept, ToolContext
from gptoss_flow.tools.base import BuiltIn
from gptoss_flow.tools.ui_pane.panes import Panes, UiPane, applied, in_order

_KEY = "ui_pane"


class _Desk:
    """The panes of a run."""

    def __init__(self) -> None:
        self.panes: Panes = {}


def put_back(panes: Panes, kept_for_run: Kept) -> None:
    """The panes that a run had when it was interrupted."""
    kept_for_run.get(_KEY, _Desk).panes = panes


async def ui_pane(arguments: UiPane, context: ToolContext) -> Json:
    # It never waits, so that calls at once are one after the other.
    desk = context.kept_for_run.get(_KEY, _Desk)
    desk.panes, pane = applied(desk.panes, arguments)
    if pane is None:
        return {"panes": [each.model_dump() for each in in_order(desk.panes)]}
    return {"pane": pane.model_dump()}


UI_PANE = BuiltIn(
    name="ui_pane",
    description=(
        "Show panes to the person who watches this run: create one with a title and plain text, change its text, "
        "move and resize it, set its priority, state and frame, focus it, let it glow, animate it, ask for "
        "attention, close it, list all. Each answer tells the pane as it is then."
    ),
    effect="idempotent",
    arguments=UiPane,
    work=ui_pane,
    parts=("ui_pane",),
)
