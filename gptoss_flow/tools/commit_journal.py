"""The journal of a change to several files: what each was and is to be, for the next writer to take it back."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.escape import is_unsafe
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.workspace import Place, open_at, read_head, refusal
from gptoss_flow.tools.writing import Content, require_allowed, write_new

OWN_FOLDER = ".gptoss-flow"
STAGE = (OWN_FOLDER, "patch")
"""The folder of the workspace that holds it, and all that is not in place yet."""
WHERE = "/".join(STAGE)
JOURNAL, UNFINISHED = "journal", "journal.new"
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class State:
    """A file as the journal knows it."""

    digest: str
    mode: int

    @classmethod
    def of(cls, content: Content | None) -> State | None:
        return cls(sha256(content.data).hexdigest(), content.mode) if content else None


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal. `number` is part of the names that it has in the stage."""

    number: int
    place: Place
    before: State | None
    after: State | None


def write_journal(stage: int, entries: Sequence[Entry], folders: Sequence[tuple[str, ...]]) -> None:
    """Raises `OSError`, and `StepError` for what is too long to be read again."""
    lines = [
        {
            "parts": entry.place.parts,
            **{
                key: [state.digest, state.mode] if state else None
                for key, state in (("before", entry.before), ("after", entry.after))
            },
        }
        for entry in entries
    ]
    data = json.dumps({"version": 1, "files": lines, "folders": folders}).encode()
    if len(data) > MAX_BYTES:  # nobody could take it back
        raise refusal("nothing was changed: paths so deep, and so many of them, are not written at once")
    write_new(stage, UNFINISHED, data, mode=0o600, exact=True, owner=None)
    os.rename(UNFINISHED, JOURNAL, src_dir_fd=stage, dst_dir_fd=stage)
    os.fsync(stage)


def read_journal(stage: int, context: ToolContext) -> tuple[list[Entry], list[tuple[str, ...]]] | None:
    """The journal, if there is one. Others may write there: it can ask for nothing that a patch could not."""
    try:
        descriptor = open_at(stage, (JOURNAL,))
    except FileNotFoundError:
        return None
    except OSError:
        raise _foreign() from None
    try:
        data = read_head(descriptor, MAX_BYTES)
    finally:
        os.close(descriptor)
    try:
        read = json.loads(data)
        if read["version"] != 1:
            raise ValueError
        entries = [
            Entry(number, _place(line["parts"], context), _state(line["before"]), _state(line["after"]))
            for number, line in enumerate(read["files"])
        ]
        folders = [_place(parts, context).parts for parts in read["folders"]]
    except (ValueError, TypeError, KeyError, RecursionError, StepError):
        raise _foreign() from None
    return entries, folders


def _place(parts: Any, context: ToolContext) -> Place:
    if not parts or not all(isinstance(name, str) for name in parts):
        raise ValueError
    if {"", ".", ".."} & set(parts) or any("/" in name or any(map(is_unsafe, name)) for name in parts):
        raise ValueError
    place = Place(context.workspace, tuple(parts), "/".join(parts))
    require_allowed(place, replace(context, own_files=()))  # another step may have been allowed to write these
    return place


def _state(value: Any) -> State | None:
    if value is None:
        return None
    digest, mode = value
    if not isinstance(digest, str) or type(mode) is not int or not 0 <= mode <= 0o777:
        raise ValueError
    return State(digest, mode)


def _foreign() -> StepError:
    return refusal(
        f"{WHERE}/{JOURNAL} in the workspace is not one of this program; look at it, and remove the folder"
    )
