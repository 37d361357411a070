"""Where the interpreter of this process lives, so that a sandbox can have the same one to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")
"""What of a prefix an interpreter needs; a prefix may be a folder that holds much else, such as a home."""
LINKS = 16


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter and what it needs beside /usr."""

    program: str
    paths: tuple[str, ...]
    """Folders and files to be seen at their own path, read only; none lies in another."""
    links: tuple[tuple[str, str], ...]
    """A file, and another path where it is to be seen."""
    search: str
    """Its folder of programs, for PATH."""


@cache
def this_python() -> Python:
    """The one that runs us, with its virtual environment and whatever folders of packages it was given."""
    wanted = [part for prefix in (sys.prefix, sys.base_prefix) for part in _parts(Path(prefix))]
    wanted += [
        Path(p) for p in sys.path if Path(p).name in ("site-packages", "dist-packages") and Path(p).is_dir()
    ]
    paths = _outermost(wanted)
    program = Path(sys.executable).absolute()
    hops = [hop for hop in _hops(program) if not _is_below(hop, [Path("/usr"), *paths])]
    real = os.path.realpath(program)
    return Python(
        str(program),
        tuple(map(str, paths)),
        tuple((real, str(hop)) for hop in hops),
        str(Path(sys.prefix) / "bin"),
    )


def _parts(prefix: Path) -> Iterator[Path]:
    for name in PARTS:
        part = prefix / name
        if part.exists() and not part.is_symlink():
            yield part


def _outermost(paths: list[Path]) -> list[Path]:
    """In order of path, without what lies in another or in /usr, which every sandbox has."""
    kept: list[Path] = []
    for path in sorted({path.absolute() for path in paths}):
        if not _is_below(path, [Path("/usr"), *kept]):
            kept.append(path)
    return kept


def _is_below(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _hops(path: Path) -> Iterator[Path]:
    """The path, and where each link that it is leads."""
    for _ in range(LINKS):
        yield path
        if not path.is_symlink():
            return
        path = Path(os.path.normpath(path.parent / path.readlink()))
