"""The JSON Schema of a line of `events.jsonl`, made from the event classes and their docstrings."""

from __future__ import annotations

import inspect
from typing import Any, get_args

from pydantic import ConfigDict, TypeAdapter, with_config

from gptoss_flow.events import Event, Json, TokensArrived

_DESCRIBED = ConfigDict(use_attribute_docstrings=True)


def event_schema() -> dict[str, Json]:
    """One alternative for each type of event that is recorded, told apart by `type`."""
    recorded = [cls for cls in get_args(Event) if cls is not TokensArrived]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gptoss-flow event",
        "description": "One line of a run's events.jsonl.",
        "type": "object",
        "oneOf": [{"$ref": f"#/$defs/{cls.__name__}"} for cls in recorded],
        "$defs": {cls.__name__: _record_schema(cls) for cls in recorded},
    }


def _record_schema(cls: type[Any]) -> dict[str, Json]:
    fields = TypeAdapter(with_config(_DESCRIBED)(cls)).json_schema()
    for field in fields["properties"].values():
        field.pop("title", None)
    envelope: dict[str, Json] = {
        "seq": {"type": "integer", "minimum": 1, "description": "The event's number in the run."},
        "t": {"type": "number", "description": "When: seconds since 1970, UTC, with microseconds."},
        "type": {"const": cls.type},
    }
    required = ["seq", "t", "type", *fields.get("required", [])]
    if cls.boundary:
        envelope["crc"] = {
            "type": "string",
            "pattern": "^[0-9a-f]{8}$",
            "description": "CRC-32 of the line's bytes before this key's comma; always the last key.",
        }
        if cls.boundary is True:  # else it depends on the event
            required.append("crc")
    described = (
        {}
        if cls.__doc__ is None or cls.__doc__.startswith(f"{cls.__name__}(")
        else {"description": inspect.cleandoc(cls.__doc__)}
    )
    return {
        **described,
        "type": "object",
        "properties": {**envelope, **fields["properties"]},
        "required": required,
    }
