"""The JSON Schemas of flow and profile files, generated from the models that check them."""

from __future__ import annotations

from typing import Any

from gptoss_flow.described import Described
from gptoss_flow.lang.flow import Flow
from gptoss_flow.lang.profile import ProfileFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def flow_schema() -> dict[str, Any]:
    """For editors and users: what a flow file may hold."""
    schema = Flow.model_json_schema(by_alias=True, schema_generator=Described)
    # The model takes any mapping as an inline profile: what may stand in it is the profile's schema.
    for server in schema["properties"]["servers"]["patternProperties"].values():
        server["anyOf"] = [{"type": "string"}, {"$ref": "profile.schema.json"}]
    return {"$schema": DIALECT, "title": "gptoss-flow flow", **_without_titles(schema)}


def profile_schema() -> dict[str, Any]:
    """For editors and users: what a server profile may hold."""
    return {
        "$schema": DIALECT,
        "title": "gptoss-flow server profile",
        **_without_titles(ProfileFile.model_json_schema(by_alias=True, schema_generator=Described)),
    }


def _without_titles(schema: Any) -> Any:
    """Drop the titles that pydantic makes of names: editors would show them in place of the descriptions."""
    if isinstance(schema, dict):
        return {
            key: {name: _without_titles(part) for name, part in value.items()}
            if key in ("properties", "$defs")
            else _without_titles(value)
            for key, value in schema.items()
            if not (key == "title" and isinstance(value, str))
        }
    return [_without_titles(part) for part in schema] if isinstance(schema, list) else schema
