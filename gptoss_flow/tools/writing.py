"""Writing beneath the workspace: the names that no tool may write, and folders and files held by descriptors."""

from __future__ import annotations

import errno
import fcntl
import os
import posixpath
import re
import stat
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow.escape import is_unsafe, one_line
from gptoss_flow.lang.profile_files import SUFFIXES, profile_files
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.sandbox import guarded
from gptoss_flow.tools.workspace import Place, explained, locate, open_at, read_head, refusal

_OURS = re.compile(r"\.git|git~\d+|\.gptoss-flow|gptoss~\d+")
"""What git and this program keep for themselves, also by the short names that Windows gives."""
_PATIENCE_S, _LOOK_AGAIN_S = 30.0, 0.02


def is_forbidden(name: str) -> bool:
    """Whether some file system takes this name for one of `_OURS`: by case, width, invisible characters, ends."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", name) if not is_unsafe(c))
    return bool(_OURS.fullmatch(plain.casefold().partition(":")[0].rstrip(". ")))


def writable(path: str, context: ToolContext, *, relative: bool = False) -> Place:
    """Where a file lies that may be written: always in the workspace. Raises `StepError` if it may not.

    `relative`: a path must be written as what it is below the workspace, as patches have it.
    """
    shown = one_line(path)
    if any(map(is_unsafe, path)):
        raise refusal(f'path "{shown}" holds control or invisible characters; name a file without them')
    if relative and (path.startswith("/") or ".." in path.split("/")):
        inside = _inside(path, context)
        said = f'write it as "{one_line(inside)}"' if inside else "a patch changes nothing outside the workspace"
        raise refusal(f'path "{shown}" is not relative to the workspace; {said}')
    place = locate(path, ToolContext(workspace=context.workspace))
    if not place.parts:
        raise refusal(f'path "{shown}" is the workspace itself; name a file in it')
    if path.endswith("/"):
        raise refusal(f"{place} names a folder; name a file")
    require_allowed(place, context)
    return place


def require_allowed(place: Place, context: ToolContext) -> None:
    """Raises `StepError` for what is git's or this program's own, what it runs from, and what the flow is made of:
    as in the sandbox."""
    for name in place.parts:
        if is_forbidden(name):
            raise refusal(f'{place} lies in "{one_line(name)}", which tools may not write')
    full = _folded(posixpath.join(os.path.realpath(place.root), *place.parts))
    for running in guarded.running_from():
        if _is_within(full, running):
            raise refusal(f"{place} lies in {one_line(str(running))}, from which this program runs")
    if any(_is_own(full, own) for own in context.own_files):
        raise refusal(
            f"{place} is part of what the flow is made of, which tools write only where the flow says "
            "permissions: {own_files: true}"
        )


def _is_within(full: str, place: Path) -> bool:
    return full == _folded(place) or full.startswith(f"{_folded(place)}/")


def _is_own(full: str, own: Path) -> bool:
    """Whether it is one of them. A folder for profiles that holds none is anybody's, but for the first of them."""
    return _is_within(full, own) and (full == _folded(own) or full.endswith(SUFFIXES) or bool(profile_files(own)))


def _folded(path: str | os.PathLike[str]) -> str:
    """As a file system has it that knows no case: rather one name too many is refused."""
    return unicodedata.normalize("NFC", os.fspath(path)).casefold()


def _inside(path: str, context: ToolContext) -> str:
    root = posixpath.normpath(context.workspace.absolute())
    full = posixpath.normpath(posixpath.join(root, path))
    return full.removeprefix(root + "/") if full.startswith(root + "/") else ""


@contextmanager
def held(context: ToolContext) -> Iterator[int]:
    """A descriptor of the workspace's folder, which no other writer of this program holds at the same time."""
    try:
        root = os.open(context.workspace, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except OSError as failure:
        raise refusal(
            f"the workspace {one_line(str(context.workspace))} cannot be opened: {failure.strerror}"
        ) from None
    try:
        end = time.monotonic() + _PATIENCE_S
        while not _taken(root):
            if time.monotonic() > end:
                raise refusal("another process has been writing to this workspace for 30 seconds; try again later")
            time.sleep(_LOOK_AGAIN_S)
        yield root
    finally:
        os.close(root)


def _taken(root: int) -> bool:
    try:
        fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as failure:
        raise refusal(f"the workspace cannot be locked, so nothing is written to it: {failure.strerror}") from None
    return True


@dataclass(frozen=True, slots=True)
class Content:
    """A regular file as it was read: its bytes and its permission bits."""

    data: bytes
    mode: int
    owner: tuple[int, int]


def content_at(root: int, place: Place, max_bytes: int) -> Content | None:
    """A file's content, or None where there is nothing by that name. Raises `StepError` for whatever else."""
    try:
        descriptor = open_at(root, place.parts)
    except OSError as failure:
        if failure.errno == errno.ENOENT:
            return None
        raise refusal(explained(failure, place)) from None
    try:
        status = os.fstat(descriptor)
        if status.st_size > max_bytes:
            raise refusal(f"{place} has {status.st_size:,} bytes; files of at most {max_bytes:,} are written")
        data = read_head(descriptor, max_bytes + 1)
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        raise refusal(f"{place} grows while it is read")
    return Content(data, stat.S_IMODE(status.st_mode) & 0o777, (status.st_uid, status.st_gid))


@contextmanager
def folder_of(root: int, parts: tuple[str, ...]) -> Iterator[int]:
    """A descriptor of the folder that holds (or is to hold) the entry at `parts`. Raises `OSError`."""
    descriptor = open_at(root, parts[:-1], folder=True)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def missing_folders(root: int, parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The folders above `parts` that do not exist, outermost first. Raises `OSError` where one is no folder."""
    for count in range(len(parts) - 1, 0, -1):
        try:
            os.close(open_at(root, parts[:count], folder=True))
        except FileNotFoundError:
            continue
        return [parts[:n] for n in range(count + 1, len(parts))]
    return [parts[:n] for n in range(1, len(parts))]


def make_folder(root: int, parts: tuple[str, ...], mode: int = 0o777) -> None:
    """Make a folder, or find that it is there: as a folder, not as a link to one. Raises `OSError`."""
    with folder_of(root, parts) as above:
        try:
            os.mkdir(parts[-1], mode, dir_fd=above)
        except FileExistsError:
            status = os.stat(parts[-1], dir_fd=above, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def write_new(
    folder: int, name: str, data: bytes, *, mode: int, exact: bool, owner: tuple[int, int] | None
) -> int:
    """Write a new file, whole and on stable storage; its permission bits. Raises `OSError`.

    `exact`: the bits as they are; otherwise less what the process's umask takes.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(name, flags, mode, dir_fd=folder)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        status = os.fstat(descriptor)
        if owner is not None and owner != (status.st_uid, status.st_gid) and os.geteuid() == 0:
            os.fchown(descriptor, *owner)
        if exact:
            os.fchmod(descriptor, mode)
        os.fsync(descriptor)
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
