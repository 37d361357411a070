"""What a patch asks for, whichever way it was written: a list of edits, one for each file that it names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.workspace import refusal

MAX_PATCH_BYTES = 2 << 20
MAX_FILES = 200
MAX_HUNKS = 2000
MAX_ANCHORS = 2 * MAX_HUNKS

Sign = Literal[" ", "-", "+"]


@dataclass(frozen=True, slots=True)
class Hunk:
    """A place in a file: lines without their ends, each kept (" "), removed ("-") or added ("+")."""

    number: int
    """In its file, from 1."""
    line: int
    """Of the patch, from 1."""
    lines: tuple[tuple[Sign, str], ...]
    anchors: tuple[str, ...] = ()
    """Lines that stand above it, one after the other: `@@ class A`, `@@ def f`."""
    start: int | None = None
    """The file's line that it begins at, from 1, where the patch says so."""
    at_end: bool = False
    """It ends where the file ends."""
    ends_bare: bool | None = None
    """Whether its last new line has no newline; None where the patch does not say."""

    @property
    def old(self) -> tuple[str, ...]:
        return tuple(text for sign, text in self.lines if sign != "+")

    @property
    def added(self) -> int:
        return sum(sign == "+" for sign, _ in self.lines)

    @property
    def removed(self) -> int:
        return sum(sign == "-" for sign, _ in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is to become of one file."""

    kind: Literal["add", "update", "delete"]
    path: str
    line: int
    """Of the patch, from 1."""
    hunks: tuple[Hunk, ...] = ()
    """Of a file that is added, one with all its lines; of one that is deleted, those that remove them, if said."""
    move_to: str = ""
    executable: bool | None = None
    """Whether it is to be executable; None: as it is."""


def fault(line: int, message: str) -> StepError:
    """What is wrong with the patch as a text."""
    return refusal(f"line {line} of the patch: {message}")


def shown(line: str) -> str:
    """A line of a patch or file, in quotes, cut where it is long."""
    text = one_line(line)
    return f'"{text[:79]}…"' if len(text) > 80 else f'"{text}"'
