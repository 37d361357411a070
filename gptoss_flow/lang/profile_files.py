"""Which files of a folder may be profiles."""

from __future__ import annotations

from pathlib import Path

SUFFIXES = (".yaml", ".yml")


def profile_files(folder: Path) -> list[Path]:
    """The files in a folder that may be profiles, by name; none where it cannot be read."""
    try:
        files = [path for path in folder.iterdir() if path.suffix in SUFFIXES and path.is_file()]
    except OSError:
        return []
    return sorted(files, key=lambda path: (path.stem, path.suffix))
