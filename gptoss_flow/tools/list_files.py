"""The tool `list_files`: which files a folder holds."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.walk import walk
from gptoss_flow.tools.workspace import locate


class ListFiles(Arguments):
    path: str = "."
    """The folder, relative to the workspace."""
    pattern: Annotated[str, Field(min_length=1)] = "**/*"
    """Which files, as in a .gitignore: `*.py` at any depth, `/*.py` in the folder itself, `src/**/*.md`."""
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    """The most files to list; where there are more, those nearest to the folder."""


def list_files(arguments: ListFiles, context: ToolContext) -> Json:
    tree = walk(locate(arguments.path, context), include=[arguments.pattern])
    nearest = sorted(tree.files[: arguments.limit], key=lambda entry: entry.parts)
    return [{"path": entry.path, "bytes": entry.bytes} for entry in nearest]


LIST_FILES = BuiltIn(
    name="list_files",
    description=(
        "List the files below a folder of the workspace, each with its path relative to that folder and its size "
        "in bytes. What .gitignore leaves out is left out; symbolic links are not followed."
    ),
    effect="pure",
    arguments=ListFiles,
    work=list_files,
)
