"""The tool `write_file`: a whole text file of the workspace, at once or not at all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.commit import Change, commit, writing
from gptoss_flow.tools.workspace import Place, explained, refusal
from gptoss_flow.tools.writing import content_at, missing_folders, writable

MAX_BYTES = 4 << 20


class WriteFile(Arguments):
    path: Annotated[str, Field(min_length=1)]
    """The file, in the workspace."""
    content: str
    """Its text."""
    mode: Literal["create", "overwrite", "append"] = "create"
    """`create` refuses where the file exists; `overwrite` replaces it, or makes it; `append` adds at its end."""
    parents: bool = False
    """Make the folders that are missing."""


def write_file(arguments: WriteFile, context: ToolContext) -> Json:
    place = writable(arguments.path, context)
    try:
        data = arguments.content.encode()
    except UnicodeEncodeError:
        raise refusal(f"{place}: the content has half of a surrogate pair, which no UTF-8 file can hold") from None
    with writing(context) as (root, taken_back):
        before = content_at(root, place, MAX_BYTES)
        if before is not None and arguments.mode == "create":
            raise refusal(f'{place} exists; say mode "overwrite" or "append", or name another file')
        if before is not None and arguments.mode == "append":
            data = before.data + data
        if len(data) > MAX_BYTES:
            raise refusal(f"{place} would have {len(data):,} bytes; at most {MAX_BYTES:,} are written")
        if not arguments.parents and (missing := _missing(root, place)):
            raise refusal(f'{place}: there is no folder "{missing}"; say parents: true to make it')
        if before is None or before.data != data:
            commit(root, context, [Change(place, before, data)])
    return {
        "path": "/".join(place.parts),
        "bytes": len(data),
        "created": before is None,
        **({"taken_back": taken_back} if taken_back else {}),
    }


def _missing(root: int, place: Place) -> str:
    """The outermost folder that is not there, as a path; '' where all are."""
    try:
        missing = missing_folders(root, place.parts)
    except OSError as failure:
        raise refusal(explained(failure, place)) from None
    return "/".join(missing[0]) if missing else ""


WRITE_FILE = BuiltIn(
    name="write_file",
    description=(
        "Write a text file of the workspace as a whole: create it, overwrite it or append to it. "
        "To change some lines of a file, patch it."
    ),
    effect="once",
    arguments=WriteFile,
    work=write_file,
)
