"""Where the values of a flow are written: in its steps, under `defaults`, or on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_flow.errors import Mark
from gptoss_flow.lang.defaults import origin
from gptoss_flow.lang.marks import Marks, Path


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Places by path of the data with defaults merged and changes done."""

    marks: Marks
    merged: Any
    changed: Mapping[Path, Mark]
    """What an option set."""

    def value(self, path: Path) -> Mark:
        """Where the value at `path` is written."""
        path = self._origin(path)
        return self._option(path) or self.marks.value(path)

    def key(self, path: Path) -> Mark:
        """Where the key of the mapping entry at `path` is written."""
        if len(path) == 2 and not self.changed:  # a step: each has its place in the plan
            return self.marks.key(path)
        path = self._origin(path)
        return (None if self.marks.has(path) else self._option(path)) or self.marks.key(path)

    def tag(self, path: Path, occurrence: int) -> Mark:
        """Where the `occurrence`-th `${{` or `{%` of the text at `path` is written."""
        path = self._origin(path)
        return self._option(path) or self.marks.tag(path, occurrence)

    def _origin(self, path: Path) -> Path:
        return origin(self.merged, self._has, path)

    def _has(self, path: Path) -> bool:
        return self.marks.has(path) or self._option(path) is not None

    def _option(self, path: Path) -> Mark | None:
        """The option that set the value, what it is a part of, or, where it is new, a part of it."""
        if not self.changed:
            return None
        for length in range(len(path), 0, -1):
            if mark := self.changed.get(path[:length]):
                return mark
        if not path or self.marks.has(path):
            return None
        return next((mark for inner, mark in self.changed.items() if inner[: len(path)] == path), None)
