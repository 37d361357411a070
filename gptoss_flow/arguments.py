"""Judges a call's arguments by a tool's JSON Schema, in words for who wrote the call."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import is_template, json_text
from gptoss_flow.ports import Tool
from gptoss_flow.words import count, nearest, suggest

MOST_STEPS = 20_000
"""Keywords of a schema that are looked at for a value: a few that refer to each other can stand for millions."""
STEPS_A_CHARACTER = 4
"""How many more for each character of it as JSON."""
MOST_NAMES = 20
"""Arguments that a tool does not have of which each is told."""
_NOTHING_ELSE: Registry[Json] = Registry()
_TYPES = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class ArgumentProblem:
    """One thing that is wrong with a call: `path` leads to the argument, and is empty where one is missing."""

    path: tuple[str | int, ...]
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


Fault = tuple[str, str]
"""What is wrong, and what to do; both empty where all is well."""


def fault_alone(tool: Tool, arguments: Mapping[str, Json]) -> Fault:
    """What is wrong with a call that stands alone, as a step's or a person's does; a model's may go on."""
    judge = getattr(tool, "alone", None)
    return judge(arguments) if judge is not None else ("", "")


def check_arguments(
    tool: Tool, arguments: Mapping[str, Json], *, templated: bool = False
) -> list[ArgumentProblem]:
    """What is wrong with the arguments, in the order that they were written; nothing if all is well.

    `templated`: they stand as in the flow's file, so a value that holds an expression is not judged yet.
    """
    try:
        errors = schema_errors(tool.parameters, arguments)
    except CANNOT_FOLLOW as error:
        said = f'the parameters of tool "{tool.name}" cannot be followed: {one_line(str(error))}'
        return [ArgumentProblem((), said)]
    problems = [
        problem
        for error in errors
        if not (templated and isinstance(error.instance, str) and is_template(error.instance))
        for problem in _problems(tool, error)
    ]
    problems += _slips(tool, arguments)
    order = {name: n for n, name in enumerate(arguments)}
    return sorted(problems, key=lambda p: order.get(str(p.path[0]), -1) if p.path else len(order))


class TooManySteps(Exception):
    """A schema that takes too long to be followed."""


CANNOT_FOLLOW = (Unresolvable, RecursionError, TooManySteps)
"""What `schema_errors` raises for a schema that leads nowhere, or on and on."""


def schema_errors(schema: Mapping[str, Json], value: Json) -> list[ValidationError]:
    """What of a value is not as its JSON Schema says. Nothing is fetched: a `$ref` to elsewhere raises, as does
    what takes too long (`CANNOT_FOLLOW`)."""
    steps = _Steps(MOST_STEPS + STEPS_A_CHARACTER * len(json_text(value)))
    before = _steps.set(steps)
    try:
        return [*_Bounded(schema, registry=_NOTHING_ELSE).iter_errors(value)]
    finally:
        _steps.reset(before)


class _Steps:
    """How many are left."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooManySteps(f"it takes more than {self._most:,} steps")


_steps: ContextVar[_Steps] = ContextVar("steps")


def _counted(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def step(*given: Any) -> Any:
        _steps.get().take()
        return keyword(*given)

    return step


_Bounded: Any = cast(Any, extend)(
    Draft202012Validator,
    validators={name: _counted(keyword) for name, keyword in Draft202012Validator.VALIDATORS.items()},
)


def _problems(tool: Tool, error: ValidationError) -> list[ArgumentProblem]:
    path, limit = tuple(error.absolute_path), cast(Any, error.validator_value)
    allowed = tool.parameters.get("properties", {})
    match error.validator:
        case "additionalProperties" if not path:
            return [
                ArgumentProblem(
                    (name,),
                    f'tool "{tool.name}" has no argument "{one_line(str(name))}"',
                    suggest(str(name), allowed),
                )
                for name in _others(cast(Any, error.instance), allowed)
            ]
        case "required" if not path:
            name = next(n for n in limit if f"'{n}'" in error.message)
            return [ArgumentProblem((), f'tool "{tool.name}" needs the argument "{name}"', _about(allowed, name))]
        case _:
            return [ArgumentProblem(path, f'tool "{tool.name}": {dotted(path) or "the call"} {said_of(error)}')]


def _slips(tool: Tool, arguments: Mapping[str, Json]) -> Iterator[ArgumentProblem]:
    """Names that are nearly those of arguments. A schema that does not say whether there may be others, as most of
    tool servers do not, would let them pass, and the server would do without."""
    known = tool.parameters.get("properties", {})
    if "additionalProperties" in tool.parameters:
        return
    left_out = [name for name in known if name not in arguments]
    for name in _others(arguments, known):
        if near := nearest(name, left_out):
            said = f'tool "{tool.name}" has no argument "{one_line(name)}"'
            yield ArgumentProblem((name,), said, f'did you mean "{near}"?')


def _others(given: Iterable[str], known: Container[str]) -> list[str]:
    """The names that are not known, as many as anybody reads about: each is compared with all that are."""
    return list(islice((name for name in given if name not in known), MOST_NAMES))


def said_of(error: ValidationError | SchemaError) -> str:
    """What is wrong with a value, to stand behind its name."""
    value, shown = cast(Any, error.validator_value), _shown(cast(Any, error.instance))
    match error.validator:
        case "type":
            return f"must be {named_types(value)}, not {shown}"
        case "anyOf" if closer := [e for e in error.context or () if e.validator != "type"]:
            return said_of(closer[0])
        case "anyOf" if all("type" in branch for branch in value):
            return f"must be {named_types([branch.get('type') for branch in value])}, not {shown}"
        case "minimum":
            return f"must be at least {value}, not {shown}"
        case "maximum":
            return f"must be at most {value}, not {shown}"
        case "exclusiveMinimum":
            return f"must be more than {value}, not {shown}"
        case "exclusiveMaximum":
            return f"must be less than {value}, not {shown}"
        case "multipleOf":
            return f"must be a multiple of {value}, not {shown}"
        case "minLength" | "minItems" if value == 1:
            return "must not be empty"
        case "minLength" | "maxLength":
            return f"must have {_bound(error)} {count(value, 'character')}, not {shown}"
        case "minItems" | "maxItems":
            return f"must have {_bound(error)} {count(value, 'item')}, not {len(cast(Any, error.instance))}"
        case "pattern":
            return f"must match the pattern {_shown(value)}, not be {shown}"
        case "const":
            return f"must be {_shown(value)}, not {shown}"
        case "required":
            missing = next((name for name in value if error.message.startswith(repr(name))), "something")
            return f'lacks "{one_line(str(missing))}"'
        case "additionalProperties" if value is False:
            allowed = cast(Any, error.schema).get("properties", {})
            extra = [name for name in cast(Any, error.instance) if name not in allowed]
            return f"has {', '.join(map(_shown, extra))}, which is not allowed"
        case "enum":
            return f"must be one of {', '.join(map(_shown, value))}, not {shown}"
        case _:
            return one_line(error.message)


def _bound(error: ValidationError | SchemaError) -> str:
    return "at least" if str(error.validator).startswith("min") else "at most"


def named_types(value: Json) -> str:
    types = value if isinstance(value, list) else [value]
    return " or ".join(_TYPES.get(t, str(t)) for t in types)


def _shown(value: Json) -> str:
    text = one_line(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= 60 else text[:57] + "…"


def dotted(path: tuple[str | int, ...]) -> str:
    """`a.b[3]`; empty for the root."""
    return one_line("".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip("."))


def _about(allowed: Mapping[str, Json], name: str) -> str:
    """The first sentence of an argument's description, to say what to write there."""
    first = str(allowed.get(name, {}).get("description", "")).split(". ")[0].rstrip(".")
    return f"{name}: {first}" if first else ""
