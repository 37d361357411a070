"""Finds the programs that make sandboxes: at places of the system, never on the PATH or in a working folder."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class NotFound:
    """`passed_over`: one that was there, and that others than the system's owner could have put there."""

    passed_over: str = ""


def trusted_program(places: Iterable[str]) -> str | NotFound:
    """The first of these absolute paths at which a program lies that root owns and nobody else may write.

    The same holds of the folder that it lies in. On macOS it may be the user's own, as Homebrew's are.
    """
    owners = {0} if sys.platform == "linux" else {0, os.geteuid()}
    passed_over = ""
    for place in places:
        real = Path(os.path.realpath(place))
        try:
            program, folder = real.stat(), real.parent.stat()
        except OSError:
            continue
        if not stat.S_ISREG(program.st_mode) or not os.access(real, os.X_OK):
            continue
        if all(one.st_uid in owners and not one.st_mode & 0o022 for one in (program, folder)):
            return str(real)
        passed_over = passed_over or place
    return NotFound(passed_over)
