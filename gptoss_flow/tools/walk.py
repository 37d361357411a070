"""Lists a tree: level by level, in order of name, without what .gitignore leaves out, never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gptoss_flow.tools import ignore
from gptoss_flow.tools.workspace import Place, open_at, opened, read_head, refusal

MAX_ENTRIES = 200_000
MAX_DEPTH = 64
_IGNORE_FILE_BYTES = 1 << 20
_NEVER = frozenset({".git", ".hg", ".svn", ".jj", ".gptoss-flow"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A regular file: `parts` lead to it from the listed folder."""

    parts: tuple[str, ...]
    bytes: int

    @property
    def path(self) -> str:
        return "/".join(self.parts)


@dataclass(slots=True)
class Tree:
    """The files found, level by level, each level in order of path; and how many things were passed over.

    `skipped` counts by reason: ignored and excluded (a folder counts once), links, special (FIFOs, sockets,
    devices), unreadable (folders that may not be listed, names that are not UTF-8), deep (below `MAX_DEPTH`).
    """

    files: list[Entry] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, reason: str) -> None:
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


def walk(place: Place, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Tree:
    """List the regular files below the folder at `place`. Patterns are as in a .gitignore, relative to it.

    Raises `StepError` where it is no folder, or holds more than `MAX_ENTRIES` files and folders: what is found
    must not depend on the order in which a disk gives its names.
    """
    tree = Tree()
    only, never = ignore.parse(include), ignore.parse(exclude)
    with opened(Place(place.root, (), place.said), folder=True) as root, opened(place, folder=True):
        outer = [p for n in range(len(place.parts)) for p in _ignore_files(root, place.parts[:n])]
        level: list[tuple[tuple[str, ...], list[ignore.Patterns]]] = [((), outer)]
        seen = 0
        while level:
            below: list[tuple[tuple[str, ...], list[ignore.Patterns]]] = []
            for folder, inherited in level:
                try:
                    descriptor = open_at(root, place.parts + folder, folder=True)
                except OSError:
                    tree.skip("unreadable")
                    continue
                try:
                    found = sorted(_scan(descriptor, MAX_ENTRIES - seen))
                finally:
                    os.close(descriptor)
                seen += len(found)
                if seen > MAX_ENTRIES:
                    raise refusal(
                        f"{place} holds more than {MAX_ENTRIES:,} files and folders; "
                        "name a smaller folder, or exclude the ones that do not matter"
                    )
                rules = [*inherited, *_ignore_files(root, place.parts + folder, found)]
                for name, mode, size in found:
                    parts = (*folder, name)
                    reason = _reason(name, mode)
                    if reason:
                        tree.skip(reason)
                    elif name in _NEVER:
                        continue
                    elif ignore.ignored(rules, place.parts + parts, folder=stat.S_ISDIR(mode)):
                        tree.skip("ignored")
                    elif never and never.says(parts, folder=stat.S_ISDIR(mode)):
                        tree.skip("excluded")
                    elif stat.S_ISREG(mode):
                        if not only or only.says(parts, folder=False):
                            tree.files.append(Entry(parts, size))
                    elif len(parts) < MAX_DEPTH:
                        below.append((parts, rules))
                    else:
                        tree.skip("deep")
            level = below
    return tree


def _reason(name: str, mode: int) -> str | None:
    """Why an entry is passed over whatever the patterns say."""
    if stat.S_ISLNK(mode):
        return "links"
    if not mode or _has_surrogate(name):
        return "unreadable"
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        return "special"
    return None


def _has_surrogate(name: str) -> bool:
    """A name that is not UTF-8 on disk cannot be written into a record."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return False


def _scan(folder: int, limit: int) -> Iterator[tuple[str, int, int]]:
    """Name, mode and size of a folder's entries, one more than `limit` at most. Mode 0: it went away meanwhile."""
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number > limit:
                return
            mode, size = 0, 0
            with suppress(OSError):
                status = os.stat(entry.name, dir_fd=folder, follow_symlinks=False)
                mode, size = status.st_mode, status.st_size
            yield entry.name, mode, size


def _ignore_files(
    root: int, folder: tuple[str, ...], found: Iterable[tuple[str, int, int]] | None = None
) -> list[ignore.Patterns]:
    """A folder's own ignore rules, the weaker first: a repository's private ones, then its .gitignore."""
    names = {".git", ".gitignore"} if found is None else {name for name, _, _ in found}
    private = [*folder, ".git", "info", "exclude"] if ".git" in names else None
    shared = [*folder, ".gitignore"] if ".gitignore" in names else None
    rules = []
    for path in filter(None, (private, shared)):
        try:
            descriptor = open_at(root, tuple(path))
        except OSError:
            continue
        try:
            text = read_head(descriptor, _IGNORE_FILE_BYTES).decode("utf-8", "surrogateescape")
        finally:
            os.close(descriptor)
        patterns = ignore.parse(text.removeprefix("\ufeff").splitlines(), folder)
        if patterns:
            rules.append(patterns)
    return rules
