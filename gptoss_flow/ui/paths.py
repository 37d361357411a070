"""Paths as people read them."""

from __future__ import annotations

from pathlib import Path


def short_path(path: str | Path) -> str:
    """Relative to the current folder where it lies in there, else with `~` for the user's home."""
    full = Path(path)
    for folder, sign in ((Path.cwd(), Path()), (Path.home(), Path("~"))):
        if full.is_absolute() and full.is_relative_to(folder):
            return str(sign / full.relative_to(folder))
    return str(path)
