"""A file's text as lines with their own ends, and what hunks make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_flow.tools.apply_patch.edits import Hunk
from gptoss_flow.tools.apply_patch.placing import LOOKS, Placed, place

_BOM = b"\xef\xbb\xbf"
_SNIFFED = 8192


@dataclass(frozen=True, slots=True)
class Text:
    """Lines without their ends, the ends (`\\n`, `\\r\\n`, nothing for the last), and if a mark begins it."""

    lines: tuple[str, ...]
    ends: tuple[str, ...]
    has_mark: bool = False

    @property
    def is_bare(self) -> bool:
        """Whether its last line has no newline."""
        return bool(self.ends) and not self.ends[-1]

    def encoded(self) -> bytes:
        body = "".join(line + end for line, end in zip(self.lines, self.ends, strict=True))
        return (_BOM if self.has_mark else b"") + body.encode("utf-8", "surrogatepass")


def read(data: bytes) -> Text | None:
    """The text of a file; None where it is none: not UTF-8, or with NUL in its first 8 KiB."""
    if b"\0" in data[:_SNIFFED]:
        return None
    has_mark = data.startswith(_BOM)
    try:
        body = data[len(_BOM) * has_mark :].decode()
    except UnicodeDecodeError:
        return None
    *whole, last = body.split("\n")
    ends = tuple("\r\n" if line.endswith("\r") else "\n" for line in whole)
    lines = tuple(line.removesuffix("\r") for line in whole)
    return Text((*lines, last), (*ends, ""), has_mark) if last else Text(lines, ends, has_mark)


def changed(text: Text, hunks: Sequence[Hunk]) -> tuple[Text, list[Placed]]:
    """The text with the hunks in their places. Raises `Misplaced`."""
    placed = place(text.lines, hunks)
    usual = next((end for end in text.ends if end), "\n")
    lines: list[tuple[str, str]] = []
    old = list(zip(text.lines, text.ends, strict=True))
    done = 0
    for one in placed:
        lines += old[done : one.at]
        done = one.at
        shift = _shift(text.lines, one)
        for sign, line in one.hunk.lines:
            if sign == "+":
                end = (old[done - 1][1] if done else "") or usual
                lines.append((_shifted(line, shift), end))
            else:
                # A line that is kept is the file's own, whatever the patch leaves out of its white space.
                lines += [old[done]] if sign == " " else []
                done += 1
    lines += old[done:]
    bare = text.is_bare
    if placed and placed[-1].end == len(old) and placed[-1].hunk.ends_bare is not None:
        bare = placed[-1].hunk.ends_bare
    ends = [end or usual for _, end in lines]
    if ends and bare:
        ends[-1] = ""
    return Text(tuple(line for line, _ in lines), tuple(ends), text.has_mark), placed


def new_text(hunks: Sequence[Hunk]) -> Text:
    lines = tuple(line for hunk in hunks for sign, line in hunk.lines if sign == "+")
    ends = ["\n"] * len(lines)
    if lines and hunks[-1].ends_bare:
        ends[-1] = ""
    return Text(lines, tuple(ends))


def _shift(lines: Sequence[str], placed: Placed) -> tuple[str, str]:
    """What the file's lines begin with and the patch's do not, and the other way round, if that is one for all."""
    if placed.differs != LOOKS[2][0]:
        return "", ""
    found = set()
    for ours, theirs in zip(lines[placed.at : placed.end], placed.hunk.old, strict=True):
        ours, theirs = ours.rstrip(), theirs.rstrip()
        if ours:
            more, less = ours.removesuffix(theirs), theirs.removesuffix(ours)
            found.add((more, "") if len(ours) >= len(theirs) else ("", less))
    one = found.pop() if len(found) == 1 else ("", "")
    return one if not (one[0] + one[1]).strip() else ("", "")


def _shifted(line: str, shift: tuple[str, str]) -> str:
    more, less = shift
    return (more + line if line.strip() else line) if more else line.removeprefix(less)
