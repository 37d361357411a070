"""The tools `apply_patch` and `undo_patch`: change files of the workspace by a patch, all of it or nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.apply_patch.draft import Draft, parse
from gptoss_flow.tools.apply_patch.undo import forget, keep, taking_back
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.commit import commit, writing
from gptoss_flow.tools.workspace import refusal


class ApplyPatch(Arguments):
    patch: Annotated[str, Field(min_length=1)]
    """From `*** Begin Patch` to `*** End Patch`, or a unified diff. Paths are relative to the workspace."""
    dry_run: bool = False
    """Only say what would change."""


class UndoPatch(Arguments):
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    """The `undo` that `apply_patch` gave."""


def apply_patch(arguments: ApplyPatch, context: ToolContext) -> Json:
    edits = parse(arguments.patch)
    with writing(context) as (root, taken_back):
        draft = Draft(root, context)
        draft.apply(edits)
        changes = draft.changes()
        undo = None
        if changes and not arguments.dry_run:
            undo = keep(context, changes)
            try:
                commit(root, context, changes)
            except StepError:
                forget(context, undo)
                raise
    return {
        "applied": not arguments.dry_run,
        "files": draft.told,
        **({"undo": undo} if undo else {}),
        **({"taken_back": taken_back} if taken_back else {}),
    }


def undo_patch(arguments: UndoPatch, context: ToolContext) -> Json:
    with writing(context) as (root, taken_back):
        changes = taking_back(root, context, arguments.id)
        if not changes:
            raise refusal(f'patch "{arguments.id}" changed nothing')
        commit(root, context, changes)
        forget(context, arguments.id)
    return {
        "restored": [change.place.said for change in changes],
        **({"taken_back": taken_back} if taken_back else {}),
    }


APPLY_PATCH = BuiltIn(
    name="apply_patch",
    description=(
        "Change text files of the workspace: add, update, delete or move several at once, all or nothing. "
        "The patch is one text:\n"
        "*** Begin Patch\n"
        "*** Update File: src/app.py\n"
        "*** Move to: src/main.py\n"
        "@@ def greet():\n"
        " kept line\n"
        "-removed line\n"
        "+added line\n"
        "*** Add File: notes.txt\n"
        "+each line with a plus\n"
        "*** Delete File: old.txt\n"
        "*** End Patch\n"
        "Give about three kept lines around each change, so that it fits in one place only; after @@ may stand a "
        "line above it. A unified diff is understood as well. The answer's `undo` is an id for `undo_patch`."
    ),
    effect="once",
    arguments=ApplyPatch,
    work=apply_patch,
    parts=("apply_patch",),
)

UNDO_PATCH = BuiltIn(
    name="undo_patch",
    description="Take back a patch that `apply_patch` made, if no file of it was changed since.",
    effect="once",
    arguments=UndoPatch,
    work=undo_patch,
    parts=("apply_patch",),
)
