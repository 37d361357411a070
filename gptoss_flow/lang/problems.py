"""A model's validation errors as problems: each at its place in the text, in our words, in the file's order.

pydantic's `loc` mixes keys of the data with tags of unions and names of validators. Of all ways to read a `loc` as
a path of the data, the one that leads to the very object that the error complains of is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.escape import one_line
from gptoss_flow.lang import shape
from gptoss_flow.lang.marks import Path
from gptoss_flow.lang.shape import Place
from gptoss_flow.lang.wording import is_custom, is_type_error, said_of, shown
from gptoss_flow.words import suggest

_STEPS = ("steps", "finally")
_NAMED = {"steps": "step", "finally": "step", "inputs": "input", "servers": "server"}
"""Mappings whose keys are names, and what a message calls what they name."""

MAX_FAULTS = 1000
"""So many of pydantic's complaints are looked at: there may be several of one value, and millions in all."""

_VERBS = ("is ", "has ", "must ", "needs ", "takes ", "cannot ", "may ")


class _Fault(NamedTuple):
    error: ErrorDetails
    place: Place

    @property
    def of_key(self) -> bool:
        """It is the key itself that is wrong, not its value."""
        return self.error["loc"][-1:] == ("[key]",)


class _Found(NamedTuple):
    mark: Mark
    what: str
    where: str
    hint: str


def problems_of(
    error: ValidationError,
    data: Any,
    *,
    model: type[BaseModel],
    value: Callable[[Path], Mark],
    key: Callable[[Path], Mark],
    inside: Path = (),
) -> list[Problem]:
    """Every problem that pydantic found in `data`, each once, by place.

    `model` is what `data` was validated against; `value` and `key` say where the value at a path and its key are
    written, as `Marks` does; `inside` is the path of `data` itself in its file.
    """
    faults = [_Fault(e, _place(e, data)) for e in error.errors(include_url=False)[:MAX_FAULTS]]
    found = list(_Finder(data, model, value, key, inside).all(faults))
    # A wrong key of `defaults` is found in every step that it was merged into.
    once: dict[tuple[Mark, str], _Found] = {}
    for one in found:
        once.setdefault((one.mark, one.what), one)
    return [Problem(f.mark, f"{f.what} {f.where}".rstrip(), f.hint) for f in sorted(once.values(), key=_by_place)]


def _by_place(found: _Found) -> Mark:
    return found.mark


class _Finder:
    def __init__(
        self,
        data: Any,
        model: type[BaseModel],
        value: Callable[[Path], Mark],
        key: Callable[[Path], Mark],
        inside: Path,
    ) -> None:
        self.data, self.model, self.value, self.key, self.inside = data, model, value, key, inside

    def all(self, faults: Sequence[_Fault]) -> Iterator[_Found]:
        deeper = {fault.place.path[:n] for fault in faults for n in range(len(fault.place.path))}

        def where(fault: _Fault) -> tuple[list[str], bool]:
            return [str(part) for part in fault.place.path], fault.of_key

        for _, group in groupby(sorted(faults, key=where), key=where):
            about = list(group)
            path, of_key = about[0].place.path, about[0].of_key
            if path in deeper:
                # Another branch of a union took the value's type and went on into it: that one was meant.
                about = [f for f in about if not (is_type_error(f.error) and f.place.labels[-1])]
            yield from self._about(path, of_key, about)

    def _about(self, path: Path, of_key: bool, faults: list[_Fault]) -> Iterator[_Found]:
        values = []
        for fault in faults:
            kind, place = fault.error["type"], fault.place
            may_be_kind = kind.startswith("union_tag") or is_custom(fault.error)
            if kind == "extra_forbidden":
                yield self._unknown_key(path, shape.keys(self._holders(place)))
            elif kind == "missing":
                name = fault.error["loc"][-1]
                yield _Found(self._owner(path), f'{self._name(path)} needs the key "{name}"', "", "add it")
            elif may_be_kind and (choice := shape.tags(shape.members(self.model, place))):
                yield from self._no_kind(place, choice)
            else:
                values.append(fault.error)
        if not values:
            return
        subject, message, hint = said_of(values)
        if of_key:
            named = _NAMED.get(str(path[0])) if len(path) == 2 else None
            yield _Found(self.key(path), f"the {named or 'key'} name {shown(path[-1])} is not allowed", "", hint)
        elif subject:
            yield _Found(self.value(path), f"{subject} {message}", "", hint)
        else:
            said = (
                f"{self._name(path)} {message}" if message.startswith(_VERBS) else f"{self._name(path)}: {message}"
            )
            at_key = isinstance(values[0]["input"], dict)
            yield _Found(self._owner(path) if at_key else self.value(path), said, "", hint)

    def _holders(self, place: Place) -> list[shape.Member]:
        return shape.members(self.model, Place(place.path[:-1], place.labels[: len(place.path)]))

    def _unknown_key(self, path: Path, allowed: Sequence[str]) -> _Found:
        return _Found(
            self.key(path),
            f"unknown key {shown(path[-1])}",
            self._inside(path[:-1]),
            suggest(str(path[-1]), allowed),
        )

    def _no_kind(self, place: Place, choice: list[str]) -> Iterator[_Found]:
        """A value that is none of the kinds of a union, or several: most often a kind is misspelt."""
        path, data = place.path, _get(self.data, place.path)
        if not isinstance(data, dict):
            yield _Found(
                self.value(path),
                f"{self._name(path)} is not a mapping",
                "",
                f"it needs one of {', '.join(choice)}",
            )
            return
        allowed = shape.keys(shape.members(self.model, place))
        misspelt = False
        for key in data:
            if key not in allowed:
                unknown = self._unknown_key((*path, key), allowed)
                misspelt |= any(f'"{kind}"' in unknown.hint for kind in choice)
                yield unknown
        given = [kind for kind in choice if kind in data]
        if given:
            said = f"{self._name(path)} has {len(given)} kinds: {', '.join(given)}"
            yield _Found(self._owner(path), said, "", "keep one of them")
        elif not misspelt:
            yield _Found(
                self._owner(path), f"{self._name(path)} has no kind", "", f"it needs one of {', '.join(choice)}"
            )

    def _owner(self, path: Path) -> Mark:
        """The key that a missing or contradictory set of keys is blamed on: the step's own for it and its body."""
        if path and path[0] in _STEPS and 2 <= len(path) <= 3:
            path = path[:2]
        return self.key(path) if path else Mark(self.value(()).source, 1, 1)

    def _name(self, path: Path) -> str:
        return _name((*self.inside, *path))

    def _inside(self, path: Path) -> str:
        return f"in {self._name(path)}" if self.inside or path else "at top level"


def _place(error: ErrorDetails, data: Any) -> Place:
    loc = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "missing":
        loc = loc[:-1]
    of_key = error["loc"][-1:] == ("[key]",)

    def fits(place: Place) -> tuple[bool, int, tuple[int, ...]]:
        target = _get(data, place.path)
        same = target is error["input"] or (not isinstance(target, dict | list) and target == error["input"])
        return (of_key or same, len(place.path), tuple(map(len, place.labels)))

    return max(_ways(loc, data), key=fits)


def _ways(loc: Sequence[str | int], data: Any) -> list[Place]:
    """Every reading of a `loc`: each part is a key of the data, where it is one, or a label."""
    found = [(Place((), ((),)), data)]
    for part in loc:
        step: list[tuple[Place, Any]] = []
        for (path, labels), here in found:
            step.append((Place(path, (*labels[:-1], (*labels[-1], str(part)))), here))
            if _holds(here, part):
                step.append((Place((*path, part), (*labels, ())), here[part]))
        found = step[-64:]  # the readings that follow the data most closely come last
    return [place for place, _ in found]


def _holds(data: Any, part: str | int) -> bool:
    if isinstance(data, dict):
        return part in data
    return isinstance(data, list) and isinstance(part, int) and 0 <= part < len(data)


def _get(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data


def _name(path: Path) -> str:
    """What a message calls the thing at a path: `step "a"`, `"params" of step "a"`, `item 2 of "needs"`."""
    if not path:
        return "this file"
    named = _NAMED.get(str(path[0]))
    if named and len(path) == 2:
        return f"{named} {shown(path[1])}"
    last = path[-1]
    if isinstance(last, int):
        return f"item {last + 1} of {_name(path[:-1])}"
    return f'"{one_line(last)}"' + (f" of {_name(path[:2])}" if named and len(path) > 2 else "")
