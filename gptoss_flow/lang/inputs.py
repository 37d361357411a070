"""A flow's inputs: their declarations in JSON Schema's words, and values given for them checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, NamedTuple

import jsonschema
from pydantic import Field

from gptoss_flow.arguments import dotted, named_types, said_of
from gptoss_flow.errors import Invalid
from gptoss_flow.events import Json
from gptoss_flow.fields import Strict
from gptoss_flow.lang.document import Path, parse_document
from gptoss_flow.refs.errors import Refused
from gptoss_flow.refs.text_filters import compile_pattern
from gptoss_flow.user_path import user_path
from gptoss_flow.words import suggest

InputType = Literal["string", "integer", "number", "boolean", "array", "object", "path"]


class Input(Strict):
    """A typed input. Without `default` it is required."""

    type: InputType
    """`path` is a string, relative to the caller's folder, that must exist unless `must_exist` is false."""
    description: str | None = None
    """For people."""
    default: Any = None
    """The value where none is given; its absence makes the input required."""
    must_exist: bool = True
    """Of a path: whether it must exist."""
    enum: Annotated[list[Any], Field(min_length=1)] | None = None
    """The allowed values."""
    const: Any = None
    """The only allowed value."""
    minimum: int | float | None = None
    """The least number."""
    maximum: int | float | None = None
    """The greatest number."""
    exclusive_minimum: Annotated[int | float | None, Field(alias="exclusiveMinimum")] = None
    """Numbers must be greater than this."""
    exclusive_maximum: Annotated[int | float | None, Field(alias="exclusiveMaximum")] = None
    """Numbers must be less than this."""
    multiple_of: Annotated[int | float | None, Field(alias="multipleOf", gt=0)] = None
    """Numbers must be a multiple of this."""
    min_length: Annotated[int | None, Field(alias="minLength", ge=0)] = None
    """The least number of characters."""
    max_length: Annotated[int | None, Field(alias="maxLength", ge=0)] = None
    """The greatest number of characters."""
    pattern: str | None = None
    """A regular expression that must be found in the text."""
    items: dict[str, Any] | None = None
    """JSON Schema of an array's items."""
    min_items: Annotated[int | None, Field(alias="minItems", ge=0)] = None
    """The least number of items."""
    max_items: Annotated[int | None, Field(alias="maxItems", ge=0)] = None
    """The greatest number of items."""
    unique_items: Annotated[bool | None, Field(alias="uniqueItems")] = None
    """Whether items must differ."""
    properties: dict[str, Any] | None = None
    """JSON Schema of an object's keys."""
    required: list[str] | None = None
    """The keys that an object must have."""
    additional_properties: Annotated[bool | dict[str, Any] | None, Field(alias="additionalProperties")] = None
    """Whether an object may have other keys, or their JSON Schema."""

    @property
    def is_required(self) -> bool:
        return "default" not in self.model_fields_set

    def json_schema(self) -> dict[str, Json]:
        """This input as plain JSON Schema."""
        ours = {"default", "must_exist", "description"}
        schema: dict[str, Json] = self.model_dump(by_alias=True, exclude_unset=True, exclude=ours)
        return schema | {"type": "string" if self.type == "path" else self.type}

    def faults(self, value: Json) -> list[str]:
        """What is wrong with a value, one sentence each; nothing where it is allowed."""
        try:
            validator = _Validator(self.json_schema())
            return [_said(error) for error in validator.iter_errors(value)]
        except jsonschema.SchemaError as error:
            return [f"cannot be checked: its declaration is no JSON Schema ({error.message})"]

    def schema_fault(self) -> tuple[Path, str] | None:
        """Where the words of JSON Schema are misused in the declaration itself, and how."""
        schema = self.json_schema()
        for fault in _misused(schema, ()):
            return fault
        try:
            jsonschema.Draft202012Validator.check_schema(schema)
        except jsonschema.SchemaError as error:
            at = tuple(error.absolute_path)
            return at, f"no JSON Schema: {' '.join(filter(None, (dotted(at), said_of(error))))}"
        return None


_REFUSED = ("$ref", "$dynamicRef", "patternProperties", "unevaluatedProperties", "unevaluatedItems")
"""What could make a check run for ever, or read a file or an address."""


def _misused(schema: Json, path: Path) -> Iterator[tuple[Path, str]]:
    """What JSON Schema allows in a declaration and we do not, at any depth, and patterns that cannot be read."""
    if isinstance(schema, dict):
        yield from (((*path, word), f'"{word}" cannot be used') for word in _REFUSED if word in schema)
        if isinstance(pattern := schema.get("pattern"), str):
            try:
                compile_pattern(pattern)
            except Refused as error:
                yield (*path, "pattern"), str(error)
    inner = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for key, value in inner:
        yield from _misused(value, (*path, key))


def _pattern(_: Any, pattern: str, value: Json, __: Any) -> Iterator[jsonschema.ValidationError]:
    """JSON Schema's `pattern` in linear time: Python's own engine can take for ever."""
    if isinstance(value, str) and compile_pattern(pattern).search(value) is None:
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _said(error: jsonschema.ValidationError) -> str:
    return " ".join(filter(None, (dotted(tuple(error.absolute_path)), said_of(error))))


def read_value(declared: Input, text: str) -> Json:
    """A value as written on the command line, read as its type says. Raises `ValueError` with what is wrong."""
    match declared.type:
        case "string" | "path":
            return text
        case "boolean":
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
        case "integer":
            if re.fullmatch(r"[+-]?\d{1,18}", text.strip()):
                return int(text)
        case "number":
            with suppress(ValueError):
                return float(text) if not re.fullmatch(r"[+-]?\d{1,18}", text.strip()) else int(text)
        case "array" | "object":
            try:
                return parse_document(text, "value").data
            except Invalid as error:
                raise ValueError(
                    f"must be {named_types(declared.type)}, as YAML or JSON: {error.problems[0].message}"
                ) from None
    shown = text if len(text) <= 60 else text[:57] + "…"
    raise ValueError(f'must be {named_types(declared.type)}, not "{shown}"')


class Fault(NamedTuple):
    """What is wrong with an input as it was given."""

    name: str
    message: str
    hint: str = ""


def bind(
    declared: Mapping[str, Input],
    given: Mapping[str, Json],
    folder: FilePath,
) -> tuple[dict[str, Json], list[Fault]]:
    """The inputs' values for a run, and every fault of what was given. `folder` is the caller's."""
    unknown = [name for name in given if name not in declared]
    faults = [Fault(name, f'unknown input "{name}"', suggest(name, declared)) for name in unknown]
    values: dict[str, Json] = {}
    for name, declaration in declared.items():
        if name not in given and declaration.is_required:
            faults.append(Fault(name, f'the input "{name}" is required', f"give it with -i {name}=VALUE"))
            continue
        value = given.get(name, declaration.default)
        found = declaration.faults(value) if name in given or value is not None else []
        if declaration.type == "path" and not found and isinstance(value, str):
            # The functions of os.path raise neither for an unknown user nor for a name that is too long.
            path = folder / user_path(value)
            if declaration.must_exist and not os.path.exists(path):  # noqa: PTH110
                found = [f'"{value}" does not exist in {folder}']
        faults += [Fault(name, f'input "{name}": {fault}') for fault in found]
        values[name] = value
    return values, faults
