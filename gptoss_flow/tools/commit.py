"""Changes several files of the workspace, all or none: staged beside, then put in place under a journal.

What is to be written, and a link to each file as it was, stand in `.gptoss-flow/patch` before a journal there
says so; then the files are put in place; removing the journal is what makes the change. Whatever is cut short
before that, by an error or by kill -9, is taken back: at once, or by the next writer, before it does its own work.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.workspace import Place, explained, open_at, read_head, refusal
from gptoss_flow.tools.writing import (
    Content,
    content_at,
    folder_of,
    held,
    make_folder,
    missing_folders,
    require_allowed,
    write_new,
)

MAX_FILE_BYTES = 16 << 20
_STATE = ".gptoss-flow"
_STAGE = (_STATE, "patch")
_JOURNAL, _UNFINISHED = "journal", "journal.new"
_JOURNAL_BYTES = 4 << 20
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_WHERE = "/".join(_STAGE)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one file. `before` is what it was read as, None where there is none; `after` likewise."""

    place: Place
    before: Content | None
    after: bytes | None
    mode: int = 0o666
    """Of what is new; a file that is replaced keeps its own, where `exact` does not say otherwise."""
    exact: bool = False


@dataclass(frozen=True, slots=True)
class _State:
    """A file as the journal knows it."""

    digest: str
    mode: int

    @classmethod
    def of(cls, content: Content | None) -> _State | None:
        return cls(sha256(content.data).hexdigest(), content.mode) if content else None


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the journal. `number` is part of the names that it has in the stage."""

    number: int
    place: Place
    before: _State | None
    after: _State | None


@contextmanager
def writing(context: ToolContext) -> Iterator[tuple[int, list[str]]]:
    """The workspace's descriptor, with nothing half done in it: what was, is said, one line for each file.

    Raises `StepError`, also where what is half done cannot be taken back.
    """
    with held(context) as root:
        yield root, _taken_back(root, context)


def commit(root: int, context: ToolContext, changes: Sequence[Change]) -> None:
    """Make all these changes, or none of them. Raises `StepError` that says why none was made."""
    # What is removed goes first: a file may make room for a folder of its name.
    ordered = sorted(changes, key=lambda change: (change.after is not None, change.before is None))
    with _stage(root) as stage:
        try:
            folders = _new_folders(root, ordered)
            entries = [_staged(root, stage, number, change) for number, change in enumerate(ordered)]
            _write_journal(stage, entries, folders)
        except OSError as failure:
            _emptied(stage)
            raise refusal(
                f"nothing was changed: it could not be prepared in {_WHERE}: {failure.strerror}"
            ) from None
        except StepError:
            _emptied(stage)
            raise
        at = ordered[0].place
        try:
            _put(root, stage, [entry for entry in entries if entry.after is None])
            for folder in folders:
                at = Place(context.workspace, folder, "/".join(folder))
                make_folder(root, folder)
            for entry in entries:
                at = entry.place
                if entry.after is not None:
                    _put(root, stage, [entry])
            _synced(root, entries)
            os.unlink(_JOURNAL, dir_fd=stage)
        except (OSError, StepError) as failure:
            _roll_back(root, stage, entries, folders)
            said = _unwritten(failure, at) if isinstance(failure, OSError) else failure.message
            raise refusal(f"nothing was changed: {said}") from None
        with suppress(OSError):  # it is done; this is for a machine that stops at once
            os.fsync(stage)
        _emptied(stage)


def _unwritten(failure: OSError, place: Place) -> str:
    """Why a file could not be put in place, in words for who wanted it."""
    if failure.errno == errno.EXDEV:
        return f"{place} lies on another file system than {_WHERE} of the workspace, and is not written"
    if failure.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
        return explained(failure, place)
    return f"{place} cannot be written: {failure.strerror}"


@contextmanager
def _stage(root: int) -> Iterator[int]:
    """The folder for what is not in place yet; it is removed again, and what holds it, if that is ours too."""
    made = False
    try:
        made = bool(missing_folders(root, _STAGE))
        make_folder(root, _STAGE[:1], 0o700)
        make_folder(root, _STAGE, 0o700)
        stage = open_at(root, _STAGE, folder=True)
    except OSError as failure:
        raise refusal(f"nothing was changed: {_WHERE} cannot be made: {failure.strerror}") from None
    try:
        if os.listdir(stage):  # noqa: PTH208  # of a descriptor
            raise refusal(f"nothing was changed: {_WHERE} holds what is not ours; remove that folder")
        yield stage
    finally:
        os.close(stage)
        with suppress(OSError):
            os.rmdir("/".join(_STAGE), dir_fd=root)
            if made:
                os.rmdir(_STATE, dir_fd=root)


def _new_folders(root: int, changes: Sequence[Change]) -> list[tuple[str, ...]]:
    going = {change.place.parts for change in changes if change.after is None}
    found: dict[tuple[str, ...], None] = {}
    for change in changes:
        if change.after is not None:
            parts = change.place.parts
            below_one_that_goes = next((parts[:n] for n in range(1, len(parts)) if parts[:n] in going), None)
            start = len(below_one_that_goes) if below_one_that_goes else None
            missing = [parts[:n] for n in range(start, len(parts))] if start else missing_folders(root, parts)
            found.update(dict.fromkeys(missing))
    return list(found)


def _staged(root: int, stage: int, number: int, change: Change) -> _Entry:
    """The file as it was and as it is to be, in the stage."""
    before, after = change.before, None
    if before is not None:
        with folder_of(root, change.place.parts) as folder:
            name, old = change.place.parts[-1], f"old-{number}"
            try:
                os.link(name, old, src_dir_fd=folder, dst_dir_fd=stage, follow_symlinks=False)
            except OSError as failure:
                if failure.errno not in _NO_LINKS:
                    raise
                write_new(stage, old, before.data, mode=before.mode, exact=True, owner=before.owner)
    if change.after is not None:
        keeps = before is not None and not change.exact
        mode, exact = (before.mode, True) if before and keeps else (change.mode, change.exact)
        owner = before.owner if before else None
        written = write_new(stage, f"new-{number}", change.after, mode=mode, exact=exact, owner=owner)
        after = _State(sha256(change.after).hexdigest(), written)
    return _Entry(number, change.place, _State.of(before), after)


def _put(root: int, stage: int, entries: Sequence[_Entry]) -> None:
    """Put files in place, or remove them, each only if it still is what it was read as."""
    for entry in entries:
        place, new = entry.place, f"new-{entry.number}"
        if _now(root, place) != entry.before:
            raise refusal(f"{place} was changed by somebody else meanwhile; read it again")
        with folder_of(root, place.parts) as folder:
            name = place.parts[-1]
            if entry.after is None:
                os.unlink(name, dir_fd=folder)
            elif entry.before is not None:
                os.rename(new, name, src_dir_fd=stage, dst_dir_fd=folder)
            else:
                try:
                    os.link(new, name, src_dir_fd=stage, dst_dir_fd=folder, follow_symlinks=False)
                except OSError as failure:
                    if failure.errno not in _NO_LINKS:
                        raise
                    os.rename(new, name, src_dir_fd=stage, dst_dir_fd=folder)


def _now(root: int, place: Place) -> _State | None:
    return _State.of(content_at(root, place, MAX_FILE_BYTES))


def _synced(root: int, entries: Sequence[_Entry]) -> None:
    for parts in {entry.place.parts[:-1] for entry in entries}:
        with suppress(FileNotFoundError, NotADirectoryError):  # it is gone again, or a file once more
            descriptor = open_at(root, parts, folder=True)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


# --- taking back -------------------------------------------------------------------------------------------------


def _taken_back(root: int, context: ToolContext) -> list[str]:
    """Take back what an earlier writer left half done; a line for each file that was not as it had left it."""
    try:
        stage = open_at(root, _STAGE, folder=True)
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise refusal(f"{_WHERE} in the workspace cannot be opened: {failure.strerror}") from None
    try:
        said = []
        if (read := _read_journal(stage, context)) is not None:
            said = ["an earlier change was interrupted and is taken back", *_roll_back(root, stage, *read)]
        _emptied(stage)
    finally:
        os.close(stage)
    with suppress(OSError):
        os.rmdir(_WHERE, dir_fd=root)
        os.rmdir(_STATE, dir_fd=root)  # unless records lie there
    return said


def _roll_back(root: int, stage: int, entries: Sequence[_Entry], folders: Sequence[tuple[str, ...]]) -> list[str]:
    """Make everything as it was. Repeating it, from wherever it was cut short, changes nothing."""
    said = []
    try:
        for entry in reversed([entry for entry in entries if entry.after is not None]):
            said += _restored(root, stage, entry)
        for folder in reversed(folders):
            with suppress(OSError), folder_of(root, folder) as above:  # not empty: somebody else uses it
                os.rmdir(folder[-1], dir_fd=above)
        for entry in entries:
            said += _restored(root, stage, entry) if entry.after is None else []
        _synced(root, entries)
        os.unlink(_JOURNAL, dir_fd=stage)
    except OSError as failure:
        raise refusal(
            f"a change was cut short and cannot be taken back: {failure.strerror}; the files as they were are in "
            f"{_WHERE} of the workspace, named old-N"
        ) from None
    _emptied(stage)
    return said


def _restored(root: int, stage: int, entry: _Entry) -> list[str]:
    place, old = entry.place, f"old-{entry.number}"
    try:
        now = _now(root, place)
    except StepError:
        return [f"{place} is something else now, and is left so"]
    if now == entry.before:
        return []
    if now != entry.after:
        return [f"{place} was changed since, and is left so"]
    if entry.before is None:
        with folder_of(root, place.parts) as folder:
            os.unlink(place.parts[-1], dir_fd=folder)
        return []
    kept = content_at(stage, Place(place.root, (old,), old), MAX_FILE_BYTES)
    if _State.of(kept) != entry.before:
        raise OSError(errno.EIO, f"{_WHERE}/{old} is not what the journal says")
    with folder_of(root, place.parts) as folder:
        os.rename(old, place.parts[-1], src_dir_fd=stage, dst_dir_fd=folder)
    return []


def _write_journal(stage: int, entries: Sequence[_Entry], folders: Sequence[tuple[str, ...]]) -> None:
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
    write_new(stage, _UNFINISHED, data, mode=0o600, exact=True, owner=None)
    os.rename(_UNFINISHED, _JOURNAL, src_dir_fd=stage, dst_dir_fd=stage)
    os.fsync(stage)


def _read_journal(stage: int, context: ToolContext) -> tuple[list[_Entry], list[tuple[str, ...]]] | None:
    """The journal, if there is one. Others may write there: it can ask for nothing that a patch could not."""
    try:
        descriptor = open_at(stage, (_JOURNAL,))
    except FileNotFoundError:
        return None
    except OSError:
        raise _foreign() from None
    try:
        data = read_head(descriptor, _JOURNAL_BYTES)
    finally:
        os.close(descriptor)
    try:
        read = json.loads(data)
        if read["version"] != 1:
            raise ValueError
        entries = [
            _Entry(number, _place(line["parts"], context), _state(line["before"]), _state(line["after"]))
            for number, line in enumerate(read["files"])
        ]
        folders = [_place(parts, context).parts for parts in read["folders"]]
    except (ValueError, TypeError, KeyError, RecursionError, StepError):
        raise _foreign() from None
    return entries, folders


def _place(parts: Any, context: ToolContext) -> Place:
    if not parts or not all(isinstance(name, str) for name in parts):
        raise ValueError
    if {"", ".", ".."} & set(parts) or any("/" in name or "\0" in name for name in parts):
        raise ValueError
    place = Place(context.workspace, tuple(parts), "/".join(parts))
    require_allowed(place)
    return place


def _state(value: Any) -> _State | None:
    if value is None:
        return None
    digest, mode = value
    return _State(str(digest), int(mode))


def _foreign() -> StepError:
    return refusal(
        f"{_WHERE}/{_JOURNAL} in the workspace is not one of this program; look at it, and remove the folder"
    )


def _emptied(stage: int) -> None:
    """Remove what was staged. Without a journal it is waste: what goes wrong here means nothing."""
    with suppress(OSError):
        for name in os.listdir(stage):  # of a descriptor
            with suppress(OSError):
                if not stat.S_ISDIR(os.stat(name, dir_fd=stage, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=stage)
