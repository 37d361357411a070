"""Confinement: which file a path names, and opening it beneath its root without following a symbolic link.

A path is first placed lexically below the workspace or below something that the user gave; the kernel then
holds it there while the file is opened, so a tree that changes in between changes nothing.
"""

from __future__ import annotations

import codecs
import ctypes
import errno
import os
import posixpath
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.ports import ToolContext

_SYS_OPENAT2 = 437  # The same on every architecture that has it and runs Python today.
_RESOLVE = 0x02 | 0x04 | 0x08  # RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
_ATTEMPTS = 64  # openat2 says EAGAIN when a rename elsewhere may have raced with it.
_SNIFFED = 8192  # bytes, as git looks at to tell text from binaries
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY


@dataclass(frozen=True, slots=True)
class Place:
    """A file or folder as a root that is trusted and the names below it; no name is empty, `.` or `..`."""

    root: Path
    parts: tuple[str, ...]
    said: str
    """The path as the author or the model wrote it."""

    def __str__(self) -> str:
        return f'"{one_line(self.said)}"'


def locate(path: str, context: ToolContext) -> Place:
    """Where `path` lies: in the workspace, else in what the user gave. Raises `StepError` if in neither.

    A relative path is relative to the workspace. What the user gave by an input may also be named as he named it,
    relative to the folder that the program was called in.
    """
    if "\0" in path:
        raise refusal("a path holds no NUL character")
    inside = _below(context.workspace, _normal(context.workspace, path))
    if inside is not None and (not context.readable or _is_plain(context.workspace, inside)):
        return Place(context.workspace, inside, path)
    # What the user gave inside the workspace is reached through the workspace: no link in there is followed.
    elsewhere = [
        given for given in context.readable if _below(context.workspace, _normal(Path.cwd(), given)) is None
    ]
    for base in (context.workspace, Path.cwd()):
        for full in (_normal(base, path), os.path.realpath(base / path)):
            for given in elsewhere:
                below = _below(given, full)
                if below or (below == () and given.is_dir()):
                    return Place(given, below, path)
                if below == ():
                    return Place(given.parent, (given.name,), path)
    if inside is not None:
        return Place(context.workspace, inside, path)
    raise refusal(
        f'path "{one_line(path)}" is outside the workspace {one_line(str(context.workspace))}; '
        "name a path inside it, or let the user give one by an input of type path"
    )


def _normal(base: Path, path: str | Path) -> str:
    return posixpath.normpath(base.absolute() / path)


def _is_plain(root: Path, parts: tuple[str, ...]) -> bool:
    """Whether it exists and no link leads there. It decides which root is meant, never whether one may be left."""
    full = str(root.resolve().joinpath(*parts))
    return os.path.lexists(full) and os.path.realpath(full) == full


def _below(root: Path, full: str) -> tuple[str, ...] | None:
    """The names that lead from `root` to `full`, or None where it lies elsewhere."""
    for form in (posixpath.normpath(root.absolute()), os.path.realpath(root)):
        if full == form:
            return ()
        prefix = form.rstrip("/") + "/"
        if full.startswith(prefix):
            return tuple(full[len(prefix) :].split("/"))
    return None


@contextmanager
def opened(place: Place, *, folder: bool = False) -> Iterator[int]:
    """A descriptor of the regular file (or folder) at `place`. Raises `StepError` that says what it is instead."""
    try:
        descriptor = open_at(place.root, place.parts, folder=folder)
    except OSError as failure:
        raise refusal(explained(failure, place, folder=folder)) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_at(root: Path | int, parts: tuple[str, ...], *, folder: bool = False) -> int:
    """Open a regular file or a folder beneath `root` (a path, or a folder's descriptor). Raises `OSError`.

    No symbolic link below the root is followed, a FIFO or device is never waited for, and what is opened is
    checked on the descriptor: EISDIR and EINVAL say that it is a folder, or no regular file.
    """
    flags = _FOLDER if folder else _FILE
    base = root if isinstance(root, int) else os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        if not parts:
            descriptor = os.open(".", flags, dir_fd=base)
        else:
            opener = _openat2 if _has_openat2 else _walk
            try:
                descriptor = opener(base, parts, flags)
            except _NotHere:
                descriptor = _walk(base, parts, flags)
    finally:
        if base is not root:
            os.close(base)
    mode = os.fstat(descriptor).st_mode
    if folder or stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(code, os.strerror(code))


class _NotHere(Exception):
    """openat2 cannot answer for this path or on this machine: the component walk must."""


def _openat2(base: int, parts: tuple[str, ...], flags: int) -> int:
    how = struct.pack("=QQQ", flags, 0, _RESOLVE)
    path = os.fsencode("/".join(parts))
    for _ in range(_ATTEMPTS):
        descriptor = int(_libc.syscall(_SYS_OPENAT2, base, path, how, len(how)))
        if descriptor >= 0:
            return descriptor
        match ctypes.get_errno():
            case errno.EAGAIN | errno.EINTR:
                continue
            case errno.ENOSYS | errno.EPERM | errno.ENAMETOOLONG:  # EPERM: a seccomp filter that does not know it
                raise _NotHere
            case code:
                raise OSError(code, os.strerror(code))
    raise _NotHere


def _walk(base: int, parts: tuple[str, ...], flags: int) -> int:
    """Name by name from descriptor to descriptor, each refused if it is a link: what openat2 does, in steps."""
    here = base
    try:
        for name in parts[:-1]:
            above, here = here, os.open(name, _FOLDER, dir_fd=here)
            if above != base:
                os.close(above)
        return os.open(parts[-1], flags, dir_fd=here)
    finally:
        if here != base:
            os.close(here)


_libc = ctypes.CDLL(None, use_errno=True)
_has_openat2 = sys.platform == "linux"


def read_text(place: Place, max_bytes: int) -> tuple[str | None, int]:
    """The text of a file's first `max_bytes`, cut at a character, and the file's size in bytes.

    The text is None for what is none: text is UTF-8 with no NUL in its first 8 KiB.
    """
    with opened(place) as descriptor:
        size = os.fstat(descriptor).st_size
        data = read_head(descriptor, max(max_bytes + 1, _SNIFFED))
    text = None if b"\0" in data[:_SNIFFED] else _decoded(data[:max_bytes], whole=len(data) <= max_bytes)
    return text, size


def read_head(descriptor: int, max_bytes: int) -> bytes:
    """The first `max_bytes` of an open file, or all that it has."""
    pieces: list[bytes] = []
    left = max_bytes
    while left and (piece := os.read(descriptor, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _decoded(data: bytes, *, whole: bool) -> str | None:
    """Without a byte order mark. A head may end inside a character; a whole file may not."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=whole)
    except UnicodeDecodeError:
        return None


def refusal(message: str) -> StepError:
    """What is asked for is wrong and stays so: trying again does not help."""
    return StepError("tool", message, retryable=False)


def explained(failure: OSError, place: Place, *, folder: bool = False) -> str:
    """Why a place could not be opened, in words for who named it."""
    match failure.errno:
        case errno.ENOENT:
            return f"{place} does not exist in {one_line(str(place.root))}"
        case errno.ENOTDIR if folder and not _has_link(place):
            return f"{place} is not a folder"
        case errno.ELOOP | errno.ENOTDIR if _has_link(place):
            return f"{place} leads through a symbolic link; name the file or folder that the link points to"
        case errno.ENOTDIR:
            return f"{place} names something below a file that is not a folder"
        case errno.EISDIR:
            return f"{place} is a folder; name a file in it"
        case errno.EINVAL | errno.ENXIO:
            return f"{place} is not a regular file"
        case errno.EACCES:
            return f"{place} may not be read: permission denied"
        case _:
            return f"{place} cannot be opened: {failure.strerror}"


def _has_link(place: Place) -> bool:
    """Only for the wording of an error: the walk itself says ENOTDIR for a link where a folder should be."""
    path = place.root
    for name in place.parts:
        path = path / name
        with suppress(OSError):
            if path.is_symlink():
                return True
    return False
