"""Finds where in a file each hunk of a patch belongs: one place for each, in their order, or an error that tells.

Lines are compared as they are, then without the white space at their end, then without that at their start, then
with dashes, quotes and spaces of every kind as the plain ones. Every distinct line becomes one character, so that
a hunk is a string to be found in a string.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

from gptoss_flow.tools.apply_patch.edits import Hunk, shown

_MOST_PLACES = 200
"""A hunk that fits in more places is told to say more."""
_MOST_ANCHORS = 2000
_TOLD = 3
_AROUND = 6
"""Lines of the file that an error shows."""
_COMPARED = 200_000
"""Lines of a file that are looked at for the one that comes nearest."""

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d", "-"),
        **dict.fromkeys("\u2018\u2019\u201a\u201b", "'"),
        **dict.fromkeys("\u201c\u201d\u201e\u201f", '"'),
        **dict.fromkeys((0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000), " "),
    }
)
"""What people type set, and models plain, or the other way round."""

LOOKS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("", lambda line: line),
    ("white space at line ends", str.rstrip),
    ("indentation", str.strip),
    ("dashes, quotes and spaces", lambda line: line.strip().translate(_PLAIN)),
)
"""How lines are compared, strictest first, and what a match then differs in."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A hunk, the index of the first line that it stands for, and what it differs in from them."""

    hunk: Hunk
    at: int
    differs: str = ""

    @property
    def end(self) -> int:
        return self.at + len(self.hunk.old)


class Misplaced(Exception):
    """A hunk that belongs nowhere, or could belong to several places: the message says it to who wrote it."""


class _Text:
    """A file's lines, as a string for each way to look at them."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._seen: dict[int, tuple[str, dict[str, str]]] = {}

    def __len__(self) -> int:
        return len(self.lines)

    def places(self, hunk: Hunk, look: int) -> list[int]:
        """Where its lines stand, one more than `_MOST_PLACES` at most; or only the one that it says itself.

        That is the line where the patch says that it begins, or the end of the file.
        """
        text, known = self._as_string(look)
        view = LOOKS[look][1]
        chars = [known.get(view(line), "") for line in hunk.old]
        if not all(chars):
            return []
        pattern = "".join(chars)
        if hunk.start is not None and text.startswith(pattern, hunk.start - 1):
            return [hunk.start - 1]
        if hunk.at_end and text.endswith(pattern):
            return [len(text) - len(pattern)]
        found, at = list[int](), -1
        while len(found) <= _MOST_PLACES and (at := text.find(pattern, at + 1)) >= 0:
            found.append(at)
        return found

    def standing(self, wanted: str) -> list[int]:
        """The lines that are this one but for white space around them, else those that begin so."""
        if wanted in self._places:
            return self._places[wanted]
        first = bisect_left(self._distinct, wanted)
        last = bisect_left(self._distinct, wanted + chr(0x10FFFF), first)
        return sorted(chain.from_iterable(self._places[line] for line in self._distinct[first:last]))

    @cached_property
    def _places(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for at, line in enumerate(self.stripped):
            found.setdefault(line, []).append(at)
        return found

    @cached_property
    def _distinct(self) -> list[str]:
        return sorted(self._places)

    def _as_string(self, look: int) -> tuple[str, dict[str, str]]:
        if look not in self._seen:
            view, known = LOOKS[look][1], dict[str, str]()
            text = "".join([known.setdefault(view(line), chr(len(known) + 1)) for line in self.lines])
            self._seen[look] = text, known
        return self._seen[look]

    @cached_property
    def stripped(self) -> list[str]:
        return [line.strip() for line in self.lines]


def place(lines: Sequence[str], hunks: Sequence[Hunk]) -> list[Placed]:
    """Each hunk with its place, in their order. Raises `Misplaced`."""
    text = _Text(lines)
    candidates = [_candidates(text, hunk) for hunk in hunks]
    first: list[Placed] = []
    end = 0
    for hunk, found in zip(hunks, candidates, strict=True):
        chosen = next((each for each in found if each.at >= end), None)
        if chosen is None:
            raise Misplaced(
                f"{_name(hunk)}: its lines stand at line {found[0].at + 1}, before those of the change above it; "
                "write the changes of a file in the order of its lines"
            )
        first.append(chosen)
        end = chosen.end
    before = len(lines)
    for at in range(len(hunks) - 1, -1, -1):
        last = next(each for each in reversed(candidates[at]) if each.end <= before)
        if last.at != first[at].at:
            raise Misplaced(_ambiguous(hunks[at], candidates[at]))
        before = last.at
    return first


def _candidates(text: _Text, hunk: Hunk) -> list[Placed]:
    """Where it may stand, in order; at least one. Raises `Misplaced`."""
    wanted = hunk.old
    if not wanted:
        return [Placed(hunk, _insertion(text, hunk))]
    for look, (differs, _) in enumerate(LOOKS):
        found = text.places(hunk, look)
        if not found:
            continue
        if len(found) > _MOST_PLACES and not hunk.anchors:
            raise Misplaced(_ambiguous(hunk, [Placed(hunk, at) for at in found]))
        if hunk.anchors and len(found) > 1:
            found = _below_anchors(text, hunk, found)
        if found:
            return [Placed(hunk, at, differs) for at in found]
        raise Misplaced(
            f"{_name(hunk)}: its lines do not stand below {shown(hunk.anchors[-1])}, but elsewhere; "
            'correct the line after "@@"'
        )
    raise Misplaced(_nowhere(text, hunk))


def _insertion(text: _Text, hunk: Hunk) -> int:
    """Where lines go that come with no line around them."""
    if hunk.start is not None:
        if hunk.start - 1 > len(text):
            raise Misplaced(f"{_name(hunk)}: it begins at line {hunk.start}, and the file has {len(text)} lines")
        return max(0, hunk.start - 1)
    if not hunk.anchors or hunk.at_end:
        return len(text)
    ends = _ends_of_anchors(text, hunk)
    if len(ends) > 1:
        raise Misplaced(
            f"{_name(hunk)}: {shown(hunk.anchors[-1])} stands at lines {_listed([end - 1 for end in ends])}; "
            "add lines that are kept around those that are added"
        )
    return ends[0]


def _below_anchors(text: _Text, hunk: Hunk, found: Sequence[int]) -> list[int]:
    """The first of these places below each place of the anchors, or at it: some write that line once more."""
    ends = _ends_of_anchors(text, hunk)
    repeats = hunk.old[0].strip() == hunk.anchors[-1].strip()
    return _next_of(found, [end - 1 for end in ends] if repeats else ends)


def _next_of(places: Sequence[int], marks: Sequence[int]) -> list[int]:
    """For each of these marks, the first place that is not before it; each place once."""
    at = (bisect_left(places, mark) for mark in marks)
    return sorted({places[n] for n in at if n < len(places)})


def _ends_of_anchors(text: _Text, hunk: Hunk) -> list[int]:
    """The lines behind the last anchor, each time that the anchors stand in the file in their order."""
    ends: list[int] = []
    for number, anchor in enumerate(hunk.anchors):
        wanted = anchor.strip()
        at = text.standing(wanted)
        if not at:
            near = _nearest_line(text, wanted)
            said = f"; the nearest is line {near + 1}: {shown(text.lines[near])}" if near is not None else ""
            raise Misplaced(f'{_name(hunk)}: no line of the file is {shown(anchor)}, which follows "@@"{said}')
        if len(at) > _MOST_ANCHORS:
            raise Misplaced(f'{_name(hunk)}: {shown(anchor)}, which follows "@@", stands at {len(at):,} lines')
        ends = [n + 1 for n in (at if number == 0 else _next_of(at, ends))]
    if not ends:
        raise Misplaced(f"{_name(hunk)}: {' and '.join(map(shown, hunk.anchors))} do not stand in that order")
    return ends


def _name(hunk: Hunk) -> str:
    return f"change {hunk.number} (line {hunk.line} of the patch)"


def _listed(places: Sequence[int]) -> str:
    said = ", ".join(str(at + 1) for at in places[:_TOLD])
    return f"{said} and more" if len(places) > _TOLD else said


def _ambiguous(hunk: Hunk, found: Sequence[Placed]) -> str:
    return (
        f"{_name(hunk)}: its lines stand in several places, at lines {_listed([each.at for each in found])}; "
        'add more of the lines around it, or a line above it after "@@", until only one place fits'
    )


def _nowhere(text: _Text, hunk: Hunk) -> str:
    """What comes nearest, so that the next try can be right."""
    said = f"{_name(hunk)}: its lines are not in the file"
    if not text.lines:
        return f"{said}, which is empty"
    at = _nearest(text, hunk.old)
    if at is None:
        return f"{said}, nor is one like them; read the file again"
    differing = next(
        (
            f"; first to differ is line {at + n + 1}, where the patch has {shown(line)}"
            for n, line in enumerate(hunk.old)
            if at + n >= len(text) or text.stripped[at + n] != line.strip()
        ),
        "",
    )
    near = text.lines[at : at + max(1, min(_AROUND, len(hunk.old)))]
    listing = "\n".join(f"{at + n + 1:6} | {shown(line)[1:-1]}" for n, line in enumerate(near))
    return f"{said}{differing}. Nearest in the file:\n{listing}"


def _nearest(text: _Text, wanted: Sequence[str]) -> int | None:
    """The place where most of these lines stand as they should; else that of a line like one of them."""
    offsets: dict[str, list[int]] = {}
    for n, line in enumerate(wanted):
        if line.strip():
            offsets.setdefault(line.strip(), []).append(n)
    votes: dict[int, int] = {}
    for at, line in enumerate(text.stripped[:_COMPARED]):
        for n in offsets.get(line, ())[:8]:
            votes[at - n] = votes.get(at - n, 0) + 1
    if votes:
        best = max(votes, key=lambda at: (votes[at], -at))
        return min(max(0, best), len(text) - 1)
    longest = max(wanted, key=lambda line: len(line.strip()), default="")
    near = _nearest_line(text, longest)
    return None if near is None else max(0, near - list(wanted).index(longest))


def _nearest_line(text: _Text, wanted: str) -> int | None:
    """The line that shares most words with this one."""
    words = frozenset(_words(wanted))
    best, most = None, 0.0
    for at, line in enumerate(text.stripped[:_COMPARED]):
        shared = len(words & (others := frozenset(_words(line))))
        if shared and (score := shared / len(words | others)) > most:
            best, most = at, score
    return best if most >= 0.3 else None


def _words(line: str) -> list[str]:
    return "".join(char if char.isalnum() or char == "_" else " " for char in line[:500]).split()
