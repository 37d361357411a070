"""A step's `foreach` or `matrix`: compiled, with what an item may use, how many there are, how many at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from gptoss_flow.fields import is_template
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.wording import shown
from gptoss_flow.plan.cells import cells
from gptoss_flow.plan.names import FOREACH_LOOP, MATRIX_LOOP, Known
from gptoss_flow.plan.parts import Parts
from gptoss_flow.plan.plan import Matrix, Values
from gptoss_flow.plan.reader import NOT_KNOWN
from gptoss_flow.refs import RESERVED
from gptoss_flow.steps.base import CommonKeys
from gptoss_flow.words import nearest, suggest

CELL_KEYS = ("include", "exclude")


class FanOutDraft:
    """A step without `foreach` and `matrix` is one item, which is called nothing."""

    def __init__(self, parts: Parts, data: dict[str, Any], known: Known) -> None:
        self._parts, self._reader, self._data = parts, parts.reader, data
        self.count = 1
        """As far as it is known before the run."""
        self.foreach = self._foreach(known)
        self.matrix = self._matrix(known)
        self.known = self._item_names(known)
        """What the values of an item may use."""
        self.limit = self._limit(known)

    def _foreach(self, known: Known) -> Values | None:
        reader, given, path = self._reader, self._data.get("foreach"), self._parts.path
        if given is None:
            if "as" in self._data:
                mark = reader.loaded.key_mark((*path, "as"))
                reader.problem(mark, '"as" names the item of a foreach', 'add "foreach", or remove "as"')
            return None
        if "matrix" in self._data:
            said = f'step "{self._parts.step_id}" has both "foreach" and "matrix"'
            hint = "keep one of them: an axis may be an expression"
            reader.problem(reader.loaded.key_mark(path), said, hint)
        values = self._parts.values(given, ("foreach",), known)
        items = given if isinstance(given, list | dict) else reader.now(given, values.path)
        if isinstance(items, list | dict):
            self.count = len(items)
        elif isinstance(given, str) and values.compiled.templates and items is not NOT_KNOWN:
            mark = reader.loaded.mark(values.path)
            reader.problem(mark, '"foreach" gives neither a list nor a mapping', f"it gives {shown(items)}")
        return values

    def _matrix(self, known: Known) -> Matrix | None:
        reader, given = self._reader, self._data.get("matrix")
        if not isinstance(given, dict):
            return None
        axes = {name: values for name, values in given.items() if name not in CELL_KEYS}
        parts = {key: self._parts.values(given[key], ("matrix", key), known) for key in CELL_KEYS if key in given}
        matrix = Matrix(self._parts.values(axes, ("matrix",), known), parts.get("include"), parts.get("exclude"))
        path = matrix.axes.path
        found = reader.now(given, path)
        if not given:
            reader.problem(reader.loaded.mark(path), '"matrix" has no axis', "write axis: [values]")
        elif wrong := [*_wrong_keys(given, axes)]:
            for key, said, hint in wrong:
                reader.problem(reader.loaded.key_mark((*path, *key)), said, hint)
        elif isinstance(found, dict) and all(isinstance(v, list) or is_template(str(v)) for v in given.values()):
            try:
                self.count = len(cells({name: found[name] for name in axes}, *map(found.get, CELL_KEYS)))
            except ValueError as error:
                reader.problem(reader.loaded.mark(path), str(error))
        return matrix

    def _item_names(self, known: Known) -> Known:
        if self.matrix is not None:
            return {**known, "matrix": self._cell_keys(), "loop": MATRIX_LOOP}
        if self.foreach is None:
            return known
        name = self._data.get("as", "item")
        if not isinstance(name, str):
            name = "item"  # its shape is already a problem
        if name in known or (name in RESERVED and name != "item"):
            mark = self._reader.loaded.mark((*self._parts.path, "as"))
            self._reader.problem(mark, f'"{name}" is a name of the language and cannot be set', "take another")
        return {**known, name: None, "loop": FOREACH_LOOP}

    def _cell_keys(self) -> list[str] | None:
        """The axes, and what `include` adds; None where that cannot be told."""
        given = self._data["matrix"]
        include = given.get("include", [])
        if not isinstance(include, list) or not all(isinstance(entry, dict) for entry in include):
            return None
        added = [key for entry in include for key in entry]
        return list(dict.fromkeys([*(name for name in given if name not in CELL_KEYS), *added]))

    def _limit(self, known: Known) -> Values | None:
        """`max_parallel`, which is known before there are items."""
        if "max_parallel" not in self._data:
            return None
        given = {"max_parallel": self._data["max_parallel"]}
        self._reader.fits(CommonKeys, given, self._parts.path)
        return self._parts.values(given, (), known)


def _wrong_keys(given: Mapping[str, Any], axes: Collection[str]) -> Iterator[tuple[Path, str, str]]:
    """Keys of a matrix that name no axis, each with what is wrong; an "exlude" of cells is a typo."""
    for name in axes:
        entries = given[name] if isinstance(given[name], list) else ()
        is_of_cells = any(isinstance(entry, dict) and entry.keys() & axes for entry in entries)
        if is_of_cells and (near := nearest(name, CELL_KEYS)):
            yield (name,), f'"{name}" is no axis of "matrix"', f'did you mean "{near}"?'
    left_out = given.get("exclude")
    for i, entry in enumerate(left_out if isinstance(left_out, list) else ()):
        for name in entry if isinstance(entry, dict) else ():
            if name not in axes:
                yield ("exclude", i, name), f'"exclude" names "{name}", which is no axis', suggest(name, axes)
