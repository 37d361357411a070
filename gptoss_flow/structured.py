"""Answers that follow a JSON Schema: whether a schema is one, and what an answer is by it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from gptoss_flow.arguments import CANNOT_FOLLOW, dotted, said_of, schema_errors
from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import parse_json

MOST_SAID = 5
"""Faults of an answer that its error tells."""


def schema_fault(schema: Json) -> str:
    """What makes this no JSON Schema; empty where it is one."""
    if not isinstance(schema, dict):
        return "is not a mapping"
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = dotted(tuple(error.absolute_path))
        return f"is no JSON Schema: {where + ' ' if where else ''}{said_of(error)}"
    return ""


def parse_answer(text: str, schema: Mapping[str, Json]) -> Json:
    """The value that an answer says. Raises `StepError("schema", …)` with the place of what is wrong."""
    try:
        value = parse_json(text)
    except ValueError as error:
        at = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise StepError("schema", f"the answer is not JSON{at}: {one_line(said)}") from None
    try:
        faults = [
            f"{dotted(tuple(error.absolute_path)) or 'the answer'} {said_of(error)}"
            for error in schema_errors(schema, value)
        ]
    except CANNOT_FOLLOW as error:
        said = f"the schema cannot be followed: {one_line(str(error))}"
        raise StepError("schema", said, retryable=False) from None
    if faults:
        more = f" and {len(faults) - MOST_SAID} more" if len(faults) > MOST_SAID else ""
        raise StepError("schema", f"the answer does not follow the schema: {'; '.join(faults[:MOST_SAID])}{more}")
    return value
