"""The tool `repo_files`: the most telling text files of a source tree, each cut to a size."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.ranking import rank
from gptoss_flow.tools.read_file import cut
from gptoss_flow.tools.walk import walk
from gptoss_flow.tools.workspace import Place, locate, read_text

LARGE_BYTES = 1 << 20
"""Larger files are seldom written by people."""


class RepoFiles(Arguments):
    root: str = "."
    """The folder, relative to the workspace."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    """The most files to give back."""
    max_bytes: Annotated[int, Field(ge=1, le=LARGE_BYTES)] = 4000
    """How much of each file, in bytes; a longer one is cut after a whole line and marked `truncated`."""
    include: Annotated[list[str], Field(default_factory=list)]
    """Only files that these patterns name, as in a .gitignore: `*.py`, `/docs/**`."""
    exclude: Annotated[list[str], Field(default_factory=list)]
    """No files and folders that these patterns name, as in a .gitignore: `tests/`, `*.json`."""


def repo_files(arguments: RepoFiles, context: ToolContext) -> Json:
    place = locate(arguments.root, context)
    tree = walk(place, arguments.include, arguments.exclude)
    files: list[Json] = []
    for entry in sorted(tree.files, key=lambda entry: rank(entry.path, entry.bytes)):
        if len(files) == arguments.limit:
            break
        if entry.bytes == 0:
            tree.skip("empty")
        elif entry.bytes > LARGE_BYTES:
            tree.skip("large")
        else:
            found = _file(
                Place(place.root, place.parts + entry.parts, entry.path), entry.path, arguments.max_bytes
            )
            if isinstance(found, str):
                tree.skip(found)
            else:
                files.append(found)
    return {"root": arguments.root, "files": files, "total": len(tree.files), "skipped": tree.skipped}


def _file(place: Place, path: str, max_bytes: int) -> dict[str, Json] | str:
    """A file's entry, or the reason why it has none."""
    try:
        text, size = read_text(place, max_bytes)
    except StepError:
        return "unreadable"  # or it went away, or became something else
    if text is None:
        return "binary"
    if not text.strip():
        return "empty"
    truncated = size > max_bytes
    return {"path": path, "text": cut(text, max_bytes, more=truncated), "bytes": size, "truncated": truncated}


REPO_FILES = BuiltIn(
    name="repo_files",
    description=(
        "Pick the most telling text files of a source tree: the README first, then manifests, then sources "
        "(entry points, shallow before deep), then documents and configuration, tests and data last. Gives "
        "root, files (path, text, bytes, truncated), total (how many files there are) and skipped (how many were "
        "passed over, by reason). What .gitignore leaves out is left out; symbolic links are not followed."
    ),
    effect="pure",
    arguments=RepoFiles,
    work=repo_files,
)
