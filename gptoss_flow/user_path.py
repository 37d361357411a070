"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path with `~` as a home; where nobody knows whose, it stays, and names a file that is not there.

    `Path.expanduser` raises `RuntimeError` then, and a slip of the pen would look like a bug.
    """
    return Path(os.path.expanduser(text))  # noqa: PTH111
