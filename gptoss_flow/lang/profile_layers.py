"""One profile as written: checks its own keys, makes its paths full, and lays it over what it extends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gptoss_flow.errors import Invalid, Mark
from gptoss_flow.lang.document import Document
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.profile import ProfileFile
from gptoss_flow.lang.profile_parts import MODEL_PINS, MODEL_SOURCES
from gptoss_flow.user_path import user_path

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable, where a value may come from instead of a file."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


Origin = Mark | Variable
"""Where a value comes from."""

_ALTERNATIVES: Mapping[KeyPath, Sequence[Sequence[str]]] = {
    (): (("context",), ("context_total",)),
    ("model",): MODEL_SOURCES,
}
"""Keys of which one row excludes the others: a profile that names one replaces what it inherits of another."""

_PATHS: tuple[tuple[str, ...], ...] = (
    ("model", "path"),
    ("model", "dir"),
    ("speculative", "model"),
    ("chat_template_file",),
    ("slots_dir",),
    ("log", "file"),
    ("keepalive", "pid_file"),
)
"""Keys whose value is a path, relative to the file that says it. Besides: `lora`, `binary`, `api_key`."""


@dataclass(frozen=True, slots=True)
class Written:
    """A place in a document where a profile is written; without a document, nowhere in particular."""

    document: Document | None
    prefix: KeyPath = ()

    def value(self, path: KeyPath = ()) -> Mark:
        return self.document.marks.value(self.prefix + path) if self.document else Mark("inline profile", 1, 1)

    def key(self, path: KeyPath) -> Mark:
        return self.document.marks.key(self.prefix + path) if self.document else Mark("inline profile", 1, 1)


@dataclass(frozen=True, slots=True)
class Layer:
    """One file or inline profile, checked; `data` has its paths resolved and its nulls still in it."""

    identity: str
    name: str
    source: str
    data: Mapping[str, Any]
    written: Written


def check(data: Mapping[str, Any], written: Written) -> ProfileFile:
    """The keys of one file, each by itself. Raises `Invalid` with every problem, in file order."""
    stripped = _without_nulls(data, ProfileFile)
    try:
        return ProfileFile.model_validate(stripped)
    except ValidationError as error:
        found = problems_of(
            error, data, model=ProfileFile, value=written.value, key=written.key, inside=written.prefix
        )
        raise Invalid(*found) from None


def _without_nulls(data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """Without the keys that only remove what was inherited; an unknown key stays, to be refused."""
    kept: dict[str, Any] = {}
    for key, value in data.items():
        known = model.model_fields.get(key)
        if value is None and known is not None:
            continue
        if isinstance(value, Mapping) and known is not None:
            nested = _nested_model(known.annotation)
            if nested is not None:
                value = _without_nulls(value, nested)
            else:
                value = {name: item for name, item in value.items() if item is not None}
        kept[key] = value
    return kept


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


def with_full_paths(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A copy in which every relative path starts at `folder`, and `~` at the user's home."""

    def full(text: str) -> str:
        return str(folder / user_path(text))

    copy: dict[str, Any] = {
        key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()
    }
    for *outer, last in _PATHS:
        holder = copy.get(outer[0]) if outer else copy
        if isinstance(holder, dict) and isinstance(holder.get(last), str):
            holder[last] = full(holder[last])
    if isinstance(copy.get("lora"), list):
        copy["lora"] = [{**adapter, "path": full(adapter["path"])} for adapter in copy["lora"]]
    if isinstance(copy.get("binary"), str) and ("/" in copy["binary"] or copy["binary"].startswith("~")):
        copy["binary"] = full(copy["binary"])
    if isinstance(copy.get("api_key"), str) and copy["api_key"].startswith("file:"):
        copy["api_key"] = "file:" + full(copy["api_key"].removeprefix("file:"))
    return copy


def spelt_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which what may be written short is a mapping, so that it merges as one."""
    every = data.get("keepalive")
    return dict(data) | ({} if every is None or isinstance(every, Mapping) else {"keepalive": {"every": every}})


def relative_paths(data: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """The paths of files in a file's checked `data` that are relative to it, each with the key that says it."""
    here, elsewhere = (with_full_paths(data, Path(folder)) for folder in ("/here", "/elsewhere"))
    yield from _differing(data, here, elsewhere, ())


def _differing(data: Any, one: Any, other: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(data, Mapping):
        for key in data:
            yield from _differing(data[key], one[key], other[key], (*path, key))
    elif isinstance(data, list):
        for number, item in enumerate(data):
            yield from _differing(item, one[number], other[number], (*path, number))
    elif one != other:
        yield path, str(data)


def lay_over(
    data: dict[str, Any],
    origins: dict[KeyPath, Origin],
    over: Mapping[str, Any],
    source: Written | Variable,
    path: KeyPath = (),
) -> None:
    """Merge `over`, which is `source`'s value at `path`, into `data`, and note where its values come from."""
    for key in _excluded(over, path):
        _remove(data, origins, path, key)
    for key, value in over.items():
        here = (*path, key)
        if value is None:
            _remove(data, origins, path, key)
        elif isinstance(value, Mapping):
            below = data.get(key)
            if not isinstance(below, dict):
                below = data[key] = {}
            lay_over(below, origins, value, source, here)
        else:
            _forget(origins, here)
            data[key] = value
            origins[here] = _origin(source, here)
            if isinstance(value, list):
                origins |= {(*here, number): _origin(source, (*here, number)) for number in range(len(value))}


def _origin(source: Written | Variable, path: KeyPath) -> Origin:
    return source.value(path) if isinstance(source, Written) else source


def settled_by(over: Mapping[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    """The keys that `over`, a value at `path`, gives a value to or leaves no room for."""
    for key in _excluded(over, path):
        yield (*path, key)
    for key, value in over.items():
        if isinstance(value, Mapping):
            yield from settled_by(value, (*path, key))
        else:
            yield (*path, key)


def says(data: Mapping[str, Any], path: KeyPath) -> bool:
    """Whether a file's `data` has something at `path`, or a null for what it is a part of."""
    value: Any = data
    for key in path:
        if not isinstance(value, Mapping):
            return True
        if key not in value:
            return False
        value = value[key]
    return True


def _excluded(over: Mapping[str, Any], path: KeyPath) -> Iterator[str]:
    rows = _ALTERNATIVES.get(path, ())
    given = {key for row in rows for key in row if over.get(key) is not None}
    named = [row for row in rows if given.intersection(row)]
    # Two rows may share keys: then the first key of one tells which is meant.
    led = [row for row in named if row[0] in given]
    kept = {key for row in led or named for key in row}
    if any(set(MODEL_PINS) <= set(row) for row in led):
        kept -= set(MODEL_PINS) - given  # they were another file's
    if named:
        yield from (key for key in dict.fromkeys(key for row in rows for key in row) if key not in kept)


def _remove(data: dict[str, Any], origins: dict[KeyPath, Origin], path: KeyPath, key: str) -> None:
    data.pop(key, None)
    _forget(origins, (*path, key))


def _forget(origins: dict[KeyPath, Origin], here: KeyPath) -> None:
    for known in [known for known in origins if known[: len(here)] == here]:
        del origins[known]
