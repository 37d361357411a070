"""Reads the format between `*** Begin Patch` and `*** End Patch`, which gpt-oss was taught."""

from __future__ import annotations

import re

from gptoss_flow.tools.apply_patch.edits import Edit, Hunk, Sign, fault, shown

BEGIN, END = "*** Begin Patch", "*** End Patch"
_ADD, _DELETE, _UPDATE = "*** Add File:", "*** Delete File:", "*** Update File:"
_MOVE, _EOF = "*** Move to:", "*** End of File"
_NUMBERED = re.compile(r"@@ -(\d{1,9})(?:,\d+)? \+\d+(?:,\d+)? @@")
"""What a unified diff has there, and a model may mix up."""
_AFTER = ("", "EOF", "PATCH", "```")
"""What may stand around a patch: the rest of a here document, or of a fenced block."""


def parse(lines: list[str], first: int) -> list[Edit]:
    """The edits of a patch whose `*** Begin Patch` is `lines[first]`. Raises `StepError`."""
    reader = _Reader(lines, first + 1)
    edits = []
    while not reader.is_at_end():
        edits.append(reader.edit())
    for number in range(reader.at + 1, len(lines)):
        if not _comes_after(lines[number]):
            raise fault(
                number + 1, f"text after {END}: {shown(lines[number])}; send one patch with all files in it"
            )
    return edits


def _comes_after(line: str) -> bool:
    return line.strip().strip("'\"") in _AFTER


class _Reader:
    """The lines of a patch, and where in them it is."""

    def __init__(self, lines: list[str], at: int) -> None:
        self._lines, self.at = lines, at
        self._last = next((n for n in range(len(lines) - 1, -1, -1) if not _comes_after(lines[n])), -1)
        """The last line that is more than what may stand around a patch."""

    def _line(self) -> str:
        if self.at >= len(self._lines):
            raise fault(len(self._lines), f"the patch does not end with {END}: it may have been cut short")
        return self._lines[self.at]

    def is_at_end(self) -> bool:
        """At `*** End Patch`. With white space before it that is a kept line, unless nothing comes after it."""
        line = self._line()
        return line.rstrip() == END or (line.strip() == END and self.at >= self._last)

    def _is_at_marker(self) -> bool:
        return self._line().startswith((_ADD, _DELETE, _UPDATE)) or self.is_at_end()

    def edit(self) -> Edit:
        while not self._line().strip():
            self.at += 1
        line, number = self._line().strip(), self.at + 1
        for marker, read in ((_ADD, self._add), (_DELETE, self._delete), (_UPDATE, self._update)):
            if line.startswith(marker):
                path = line.removeprefix(marker).strip()
                if not path:
                    raise fault(number, f'"{marker}" names no file')
                self.at += 1
                return read(path, number)
        raise fault(
            number,
            f'expected "{_ADD} PATH", "{_UPDATE} PATH", "{_DELETE} PATH" or "{END}", not {shown(self._line())}',
        )

    def _delete(self, path: str, number: int) -> Edit:
        while not self._line().strip():
            self.at += 1
        if not self._is_at_marker():
            raise fault(self.at + 1, f'"{_DELETE} {path}" takes no lines, not {shown(self._line())}')
        return Edit(kind="delete", path=path, line=number)

    def _add(self, path: str, number: int) -> Edit:
        lines: list[tuple[Sign, str]] = []
        while not self._is_at_marker():
            line = self._line()
            if line.startswith("+"):
                lines.append(("+", line[1:]))
                self.at += 1
            elif line.strip():
                raise fault(self.at + 1, f'each line of an added file begins with "+", not {shown(line)}')
            elif not self._passes_last_blank_lines():
                raise fault(self.at + 1, 'an empty line of an added file is written "+"')
        return Edit(kind="add", path=path, line=number, hunks=(Hunk(1, number, tuple(lines)),))

    def _passes_last_blank_lines(self) -> bool:
        """Go on to the marker that follows blank lines; where none does, stay."""
        here = self.at
        while not self._line().strip():
            self.at += 1
        if self._is_at_marker():
            return True
        self.at = here
        return False

    def _update(self, path: str, number: int) -> Edit:
        move_to = ""
        if self._line().strip().startswith(_MOVE):
            move_to = self._line().strip().removeprefix(_MOVE).strip()
            if not move_to:
                raise fault(self.at + 1, f'"{_MOVE}" names no file')
            self.at += 1
        hunks: list[Hunk] = []
        while not self._is_at_marker():
            if self._line().strip() or not self._passes_last_blank_lines():
                hunks.append(self._hunk(len(hunks) + 1))
        if not hunks and not move_to:
            raise fault(number, f'"{_UPDATE} {path}" is followed by no change')
        return Edit(kind="update", path=path, line=number, hunks=tuple(hunks), move_to=move_to)

    def _hunk(self, number: int) -> Hunk:
        line, anchors, start = self.at + 1, list[str](), None
        while self._line().startswith("@@"):
            if numbered := _NUMBERED.match(self._line()):
                start = int(numbered[1])
            elif anchor := self._line().removeprefix("@@").strip().removesuffix("@@").strip():
                anchors.append(anchor)
            self.at += 1
        lines: list[tuple[Sign, str]] = []
        blank = 0
        while not self._is_at_marker() and not self._line().startswith("@@") and self._line().rstrip() != _EOF:
            text = self._line()
            if not text:
                lines.append((" ", ""))
            elif text[0] in " -+":
                lines.append((text[0], text[1:]))  # type: ignore[arg-type]
            else:
                raise fault(
                    self.at + 1,
                    'a line of a change begins with " " (kept), "-" (removed) or "+" (added), not ' + shown(text),
                )
            blank = 0 if text else blank + 1
            self.at += 1
        at_end = self._line().rstrip() == _EOF
        if at_end:
            self.at += 1
        # Empty lines between this and what follows: who writes one that is kept begins it with a space.
        lines = lines[: len(lines) - blank] if blank else lines
        if not any(sign != " " for sign, _ in lines):
            raise fault(line, "this change neither removes nor adds a line")
        return Hunk(number, line, tuple(lines), anchors=tuple(anchors), start=start, at_end=at_end)
