"""Where every key and value of a document stands in its text."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gptoss_flow.errors import Mark

Path = tuple[str | int, ...]
"""The way from the root to a value: keys of mappings and indices (from 0) of sequences."""

TAG = re.compile(r"\$\{\{|\{%")
_QUOTES_AND_SPACE = "\"' \t\r\n"


class Lines:
    """Turns offsets into a text (in characters, from 0) into marks; the text is split when the first is asked."""

    def __init__(self, source: str, text: str) -> None:
        self.source, self.text = source, text

    def at(self, offset: int) -> Mark:
        line = bisect_right(self._starts, offset)
        return Mark(self.source, line, offset - self._starts[line - 1] + 1)

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Places by path. Values are numbered, two offsets each are stored; a `Mark` is made when somebody asks."""

    lines: Lines
    data: Any
    keys: array[int]
    """Where the value's key starts; the value itself where it has none."""
    starts: array[int]
    ends: dict[int, int]
    """Where a text with a tag in it ends."""
    kids: dict[int, dict[str, int] | list[int]]
    """The numbers of what a collection holds. The root has the number 0."""

    def value(self, path: Path) -> Mark:
        """Where the value starts; of its nearest existing ancestor where the path does not exist."""
        return self.lines.at(self.starts[self._walk(path)[0]]) if self.starts else self.lines.at(0)

    def key(self, path: Path) -> Mark:
        """Where the value's key starts; the value itself where it has no key (an item of a list, the root)."""
        node, found = self._walk(path)
        if not self.starts or found < len(path):
            return self.value(path)
        return self.lines.at(self.keys[node])

    def has(self, path: Path) -> bool:
        """Whether the document holds a value there."""
        return bool(self.starts) and self._walk(path)[1] == len(path)

    def tag(self, path: Path, occurrence: int) -> Mark:
        """Where the n-th (from 0) `${{` or `{%` of a text stands.

        The value's own place where the text is one whole `${{ … }}`, and where the source is written so
        (with escapes) that the tag cannot be found in it.
        """
        node, found = self._walk(path)
        if found < len(path) or node not in self.ends:
            return self.value(path)
        value = self._data(path)
        start = self.starts[node]
        raw = self.lines.text[start : self.ends[node]]
        if raw[:1] in ("|", ">"):  # the header of a block may carry a comment
            header = raw.find("\n") + 1
            start, raw = start + header, raw[header:]
        places = [match.start() for match in TAG.finditer(raw)]
        bare = raw.strip(_QUOTES_AND_SPACE)
        whole = len(places) == 1 and bare.startswith("${{") and bare.endswith("}}")
        if whole or occurrence >= len(places) or len(places) != len(TAG.findall(value)):
            return self.value(path)
        return self.lines.at(start + places[occurrence])

    def _walk(self, path: Path) -> tuple[int, int]:
        """The number of the last value on the path that exists, and how many parts of the path led to it."""
        node = 0
        for depth, part in enumerate(path):
            match self.kids.get(node), part:
                case dict() as kids, str() if part in kids:
                    node = kids[part]
                case list() as kids, int() if 0 <= part < len(kids):
                    node = kids[part]
                case _:
                    return node, depth
        return node, len(path)

    def _data(self, path: Path) -> Any:
        data = self.data
        for part in path:
            data = data[part]
        return data
