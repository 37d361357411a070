"""Folders that belong to the user alone, whatever the umask: no other can read or change what lies in them."""

from __future__ import annotations

from pathlib import Path


def create_private(folder: Path) -> None:
    """Create a folder, and those above it that are missing, each for this user alone. Raises `OSError`."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
