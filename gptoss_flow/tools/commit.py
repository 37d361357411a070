"""Changes several files of the workspace, all or none: staged beside, then put in place under a journal.

What is to be written, and a link to each file as it was, stand in `.gptoss-flow/patch` before a journal there
says so; then the files are put in place; removing the journal is what makes the change. Whatever is cut short
before that, by an error or by kill -9, is taken back: at once, or by the next writer, before it does its own work.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.commit_journal import (
    JOURNAL,
    OWN_FOLDER,
    STAGE,
    WHERE,
    Entry,
    State,
    read_journal,
    write_journal,
)
from gptoss_flow.tools.workspace import Place, explained, open_at, refusal
from gptoss_flow.tools.writing import (
    Content,
    content_at,
    folder_of,
    held,
    make_folder,
    missing_folders,
    write_new,
)

MAX_FILE_BYTES = 16 << 20
_NO_LINKS = {errno.EPERM, errno.EACCES, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one file. `before` is what it was read as, None where there is none; `after` likewise."""

    place: Place
    before: Content | None
    after: bytes | None
    mode: int = 0o666
    """Of what is new; a file that is replaced keeps its own, where `exact` does not say otherwise."""
    exact: bool = False


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
            write_journal(stage, entries, folders)
        except OSError as failure:
            _emptied(stage)
            raise refusal(
                f"nothing was changed: it could not be prepared in {WHERE}: {failure.strerror}"
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
            os.unlink(JOURNAL, dir_fd=stage)
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
        return f"{place} lies on another file system than {WHERE} of the workspace, and is not written"
    if failure.errno in (errno.ELOOP, errno.ENOTDIR, errno.EISDIR):
        return explained(failure, place)
    return f"{place} cannot be written: {failure.strerror}"


@contextmanager
def _stage(root: int) -> Iterator[int]:
    """The folder for what is not in place yet; it is removed again, and what holds it, if that is ours too."""
    made = False
    try:
        made = bool(missing_folders(root, STAGE))
        make_folder(root, STAGE[:1], 0o700)
        make_folder(root, STAGE, 0o700)
        stage = open_at(root, STAGE, folder=True)
    except OSError as failure:
        raise refusal(f"nothing was changed: {WHERE} cannot be made: {failure.strerror}") from None
    try:
        if os.listdir(stage):  # noqa: PTH208  # of a descriptor
            raise refusal(f"nothing was changed: {WHERE} holds what is not ours; remove that folder")
        yield stage
    finally:
        os.close(stage)
        with suppress(OSError):
            os.rmdir(WHERE, dir_fd=root)
            if made:
                os.rmdir(OWN_FOLDER, dir_fd=root)


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


def _staged(root: int, stage: int, number: int, change: Change) -> Entry:
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
        after = State(sha256(change.after).hexdigest(), written)
    return Entry(number, change.place, State.of(before), after)


def _put(root: int, stage: int, entries: Sequence[Entry]) -> None:
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


def _now(root: int, place: Place) -> State | None:
    return State.of(content_at(root, place, MAX_FILE_BYTES))


def _synced(root: int, entries: Sequence[Entry]) -> None:
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
        stage = open_at(root, STAGE, folder=True)
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise refusal(f"{WHERE} in the workspace cannot be opened: {failure.strerror}") from None
    try:
        said = []
        if (read := read_journal(stage, context)) is not None:
            said = ["an earlier change was interrupted and is taken back", *_roll_back(root, stage, *read)]
        _emptied(stage)
    finally:
        os.close(stage)
    with suppress(OSError):
        os.rmdir(WHERE, dir_fd=root)
        os.rmdir(OWN_FOLDER, dir_fd=root)  # unless records lie there
    return said


def _roll_back(root: int, stage: int, entries: Sequence[Entry], folders: Sequence[tuple[str, ...]]) -> list[str]:
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
        os.unlink(JOURNAL, dir_fd=stage)
    except OSError as failure:
        raise refusal(
            f"a change was cut short and cannot be taken back: {failure.strerror}; the files as they were are in "
            f"{WHERE} of the workspace, named old-N"
        ) from None
    _emptied(stage)
    return said


def _restored(root: int, stage: int, entry: Entry) -> list[str]:
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
    if State.of(kept) != entry.before:
        raise OSError(errno.EIO, f"{WHERE}/{old} is not what the journal says")
    with folder_of(root, place.parts) as folder:
        os.rename(old, place.parts[-1], src_dir_fd=stage, dst_dir_fd=folder)
    return []


def _emptied(stage: int) -> None:
    """Remove what was staged. Without a journal it is waste: what goes wrong here means nothing."""
    with suppress(OSError):
        for name in os.listdir(stage):  # of a descriptor
            with suppress(OSError):
                if not stat.S_ISDIR(os.stat(name, dir_fd=stage, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=stage)
