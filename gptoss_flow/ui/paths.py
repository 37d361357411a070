"""Paths as people read them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent.parent


def short_path(path: str | Path) -> str:
    """The shortest of: as it is, from the current folder, with `~` for the user's home, with `…` for the way to
    what comes with this program, which is long and says nothing."""
    full = Path(path)
    shorter = [
        str(sign / full.relative_to(folder))
        for folder, inside, sign in (
            (Path.cwd(), Path.cwd(), Path()),
            (Path.home(), Path.home(), Path("~")),
            (_PACKAGE.parent, _PACKAGE, Path("…")),
        )
        if full.is_absolute() and full.is_relative_to(inside)
    ]
    return min([*shorter, str(path)], key=len)
