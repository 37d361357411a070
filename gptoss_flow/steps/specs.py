"""What a model is told of tools: their schemas in as few tokens as they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gptoss_flow.events import Json
from gptoss_flow.ports import Tool, ToolSpec

_NULL: Json = {"type": "null"}


def specs(tools: Mapping[str, Tool]) -> tuple[ToolSpec, ...]:
    return tuple(
        ToolSpec(name=name, description=tool.description, parameters=without_null(tool.parameters))
        for name, tool in tools.items()
    )


def without_null(schema: Any) -> Any:
    """The schema without `or null` where null is the default: such an argument is left out by whoever has none.

    A tool still takes a null; a model would only have to read of it.
    """
    if isinstance(schema, list):
        return [without_null(each) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    branches = schema.get("anyOf")
    if isinstance(branches, list) and _NULL in branches and schema.get("default", _NULL) is None:
        others = [branch for branch in branches if branch != _NULL]
        rest = {key: each for key, each in schema.items() if key not in ("anyOf", "default")}
        only = others[0] if len(others) == 1 and isinstance(others[0], dict) else {"anyOf": others}
        return without_null({**only, **rest})
    return {key: without_null(each) for key, each in schema.items()}
