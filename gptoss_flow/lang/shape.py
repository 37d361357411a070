"""What a model allows at a place in the data: its keys there, and the kinds to choose from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from gptoss_flow.lang.marks import Path


class Place(NamedTuple):
    """A place that an error of pydantic speaks of.

    `labels[i]` are the parts of its `loc` before `path[i]` that are no keys of the data: tags of unions and names
    of validators; the last entry are those after the path.
    """

    path: Path
    labels: tuple[tuple[str, ...], ...]


class Member(NamedTuple):
    """One type that a value may have, and its tag in a union that goes by tags."""

    tag: str | None
    type: Any


def members(model: type[BaseModel], place: Place) -> list[Member]:
    """The types that the value at a place may have; where the labels say which of a union was meant, only that."""
    current = [Member(None, model)]
    for part, labels in zip(place.path, place.labels, strict=False):
        current = [inner for member in _narrowed(current, labels) for inner in _child(member.type, part)]
    return _narrowed(current, place.labels[-1])


def keys(found: Sequence[Member]) -> list[str]:
    """The keys of all models among these types, each once, in their order."""
    models = [member.type for member in found if _is_model(member.type)]
    return list(dict.fromkeys(key for model in models for key in _fields(model)))


def tags(found: Sequence[Member]) -> list[str]:
    """The kinds among which these types leave a choice; none where one was made, or there is none."""
    given = [member.tag for member in found if member.tag is not None]
    return given if len(given) > 1 else []


def _narrowed(found: Sequence[Member], labels: Sequence[str]) -> list[Member]:
    by_label = [m for m in found if m.tag in labels] or [
        m for m in found if _is_model(m.type) and m.type.__name__ in labels
    ]
    return by_label or list(found)


def _child(owner: Any, part: str | int) -> Iterator[Member]:
    if _is_model(owner):
        if isinstance(part, str) and (annotation := _fields(owner).get(part)) is not None:
            yield from _unfold(annotation)
        return
    inner = get_args(owner)
    if inner and get_origin(owner) is dict:
        yield from _unfold(inner[1])
    elif inner and isinstance(part, int):
        yield from _unfold(inner[0])


def _unfold(annotation: Any, tag: str | None = None) -> Iterator[Member]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extras = get_args(annotation)
        yield from _unfold(inner, next((extra.tag for extra in extras if isinstance(extra, Tag)), tag))
    elif origin in (Union, UnionType):
        for member in get_args(annotation):
            yield from _unfold(member, tag)
    else:
        yield Member(tag, annotation)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel)


@cache
def _fields(model: type[BaseModel]) -> dict[str, Any]:
    if not model.__pydantic_fields_complete__:
        model.model_rebuild()  # a type that it names was not known when the class was made
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}
