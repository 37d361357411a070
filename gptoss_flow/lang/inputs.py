"""A flow's inputs: their declarations in JSON Schema's words, and values given for them checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
from pydantic import Field

from gptoss_flow.errors import Invalid
from gptoss_flow.events import Json
from gptoss_flow.fields import Strict, json_text
from gptoss_flow.lang.document import parse_document
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

    def schema_fault(self) -> str | None:
        """What is wrong with the declaration itself, where the words of JSON Schema are misused."""
        try:
            jsonschema.Draft202012Validator.check_schema(self.json_schema())
        except jsonschema.SchemaError as error:
            return f"is no JSON Schema: {error.message}"
        return next(_misused(self.json_schema()), None)


_REFUSED = ("$ref", "$dynamicRef", "patternProperties", "unevaluatedProperties", "unevaluatedItems")
"""What could make a check run for ever, or read a file or an address."""


def _misused(schema: Json) -> Iterator[str]:
    """What JSON Schema allows in a declaration and we do not, at any depth."""
    if isinstance(schema, dict):
        yield from (f'cannot use "{word}"' for word in _REFUSED if word in schema)
        if isinstance(pattern := schema.get("pattern"), str):
            try:
                compile_pattern(pattern)
            except Refused as error:
                yield str(error)
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from _misused(inner)


def _pattern(_: Any, pattern: str, value: Json, __: Any) -> Iterator[jsonschema.ValidationError]:
    """JSON Schema's `pattern` in linear time: Python's own engine can take for ever."""
    if isinstance(value, str) and compile_pattern(pattern).search(value) is None:
        yield jsonschema.ValidationError(f"{value!r} does not match {pattern!r}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def _said(error: jsonschema.ValidationError) -> str:
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    value = json_text(error.instance)
    shown = value if len(value) <= 60 else value[:57] + "…"
    limit = error.validator_value
    said = {
        "type": f"{shown} is not of type {limit}",
        "enum": f"{shown} is not allowed; allowed: {', '.join(map(json_text, limit))}"
        if isinstance(limit, list)
        else "",
        "minimum": f"{shown} is less than the minimum {limit}",
        "maximum": f"{shown} is more than the maximum {limit}",
        "exclusiveMinimum": f"{shown} must be more than {limit}",
        "exclusiveMaximum": f"{shown} must be less than {limit}",
        "pattern": f'{shown} does not match the pattern "{limit}"',
        "minLength": f"{shown} has fewer than {limit} characters",
        "maxLength": f"{shown} has more than {limit} characters",
        "minItems": f"has fewer than {limit} items",
        "maxItems": f"has more than {limit} items",
    }.get(str(error.validator)) or error.message
    return f"{where}: {said}" if where else said


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
                raise ValueError(f"is not YAML or JSON: {error.problems[0].message}") from None
    shown = text if len(text) <= 60 else text[:57] + "…"
    raise ValueError(f'"{shown}" is not of type {declared.type}')


def bind(
    declared: Mapping[str, Input],
    given: Mapping[str, Json],
    folder: Path,
) -> tuple[dict[str, Json], list[str]]:
    """The inputs' values for a run, and every fault of what was given. `folder` is the caller's."""
    faults = [f'unknown input "{name}"; {suggest(name, declared)}' for name in given if name not in declared]
    values: dict[str, Json] = {}
    for name, declaration in declared.items():
        if name not in given and declaration.is_required:
            faults.append(f'the input "{name}" is required; give it with -i {name}=VALUE')
            continue
        value = given.get(name, declaration.default)
        found = declaration.faults(value) if name in given or value is not None else []
        if declaration.type == "path" and not found and isinstance(value, str):
            # The functions of os.path raise neither for an unknown user nor for a name that is too long.
            path = folder / user_path(value)
            if declaration.must_exist and not os.path.exists(path):  # noqa: PTH110
                found = [f'"{value}" does not exist in {folder}']
        faults += [f'input "{name}": {fault}' for fault in found]
        values[name] = value
    return values, faults
