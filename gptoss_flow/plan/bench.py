"""What is wrong with a bench beyond its shape: axes that no profile has, values that its keys do not take, levels
that do not suit their figure. Each at its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from gptoss_flow.errors import Problem
from gptoss_flow.fields import is_template
from gptoss_flow.lang.document import Path
from gptoss_flow.lang.problems import problems_of
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.wording import shown
from gptoss_flow.plan.cells import cells
from gptoss_flow.plan.reader import Reader
from gptoss_flow.steps.bench import read_level
from gptoss_flow.trials import FIGURES, QUANT
from gptoss_flow.words import suggest

NOT_TRIED = ("name", "description", "url", "api", "api_key", "engine", "restart", "log", "idle_timeout")
"""Keys of a profile that say nothing of how fast it is."""
_ENTRIES = ("include", "exclude")


def bench_problems(reader: Reader, bench: Any, path: Path) -> Iterator[Problem]:
    """`bench` is the body as written, at `path`; what is wrong with its shape has been told."""
    if not isinstance(bench, dict):
        return
    yield from _level_problems(reader, bench.get("slo"), (*path, "slo"))
    if isinstance(matrix := bench.get("matrix"), dict):
        yield from _matrix_problems(reader, matrix, (*path, "matrix"))


def _level_problems(reader: Reader, levels: Any, path: Path) -> Iterator[Problem]:
    for figure, value in levels.items() if isinstance(levels, dict) else ():
        if figure not in FIGURES or not isinstance(value, str | int | float) or isinstance(value, bool):
            continue
        if isinstance(value, str) and is_template(value):
            continue
        try:
            read_level(figure, value)
        except ValueError as error:
            said, _, hint = str(error).partition(": ")
            mark = reader.loaded.mark((*path, figure))
            yield Problem(mark, f'{shown(value)} does not suit "{figure}", which {said}', hint)


def _matrix_problems(reader: Reader, matrix: Mapping[str, Any], path: Path) -> Iterator[Problem]:
    axes = {name: values for name, values in matrix.items() if name not in _ENTRIES}
    if not matrix:
        yield Problem(reader.loaded.mark(path), '"matrix" has no axis', "write a key of a profile: [values]")
    for name, values in axes.items():
        place = (*path, name)
        if name not in AXES:
            said = f'"{name}" is no key of a profile that can be tried out'
            yield Problem(reader.loaded.key_mark(place), said, suggest(str(name), AXES))
        elif isinstance(values, list):
            for at, value in enumerate(values):
                yield from _value_problems(reader, name, value, (*place, at))
    for key in _ENTRIES:
        entries = matrix.get(key)
        for at, entry in enumerate(entries if isinstance(entries, list) else ()):
            for name, value in entry.items() if isinstance(entry, dict) else ():
                place = (*path, key, at, name)
                if name not in AXES:
                    said = f'"{name}" is no key of a profile that can be tried out'
                    yield Problem(reader.loaded.key_mark(place), said, suggest(str(name), AXES))
                else:
                    yield from _value_problems(reader, name, value, place)
    found = reader.now(matrix, path)
    if isinstance(found, dict) and all(isinstance(each, list) for each in found.values()):
        try:
            if not cells({name: found[name] for name in axes}, *map(found.get, _ENTRIES)) and matrix:
                yield Problem(reader.loaded.mark(path), '"matrix" has no cell', "give each axis a value")
        except ValueError as error:
            yield Problem(reader.loaded.mark(path), str(error))


def _value_problems(reader: Reader, axis: str, value: Any, path: Path) -> Iterator[Problem]:
    """What the profile's key says to a value, told at the value."""
    if isinstance(value, str) and is_template(value):
        return
    keys = ("model", "quants") if axis == QUANT else tuple(axis.split("."))
    data: Any = [value] if axis == QUANT else value
    for key in reversed(keys):
        data = {key: data}
    try:
        Profile.model_validate(data)
    except ValidationError as error:
        mark = reader.loaded.mark(path)
        for problem in problems_of(error, data, model=Profile, value=lambda _: mark, key=lambda _: mark):
            yield Problem(mark, f"{axis}: {problem.message}", problem.hint)


def _axes(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if prefix or name not in NOT_TRIED:
            yield f"{prefix}{name}"
            if (inner := _nested(field.annotation)) is not None:
                yield from _axes(inner, f"{prefix}{name}.")


def _nested(annotation: Any) -> type[BaseModel] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)


AXES = (QUANT, *_axes(Profile))
"""What a matrix may name: keys of a profile, dotted, and `quant`."""
