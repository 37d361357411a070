"""What a tool server says of its tools: whatever it says, a call can be held against it, and in time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.arguments import check_arguments
from gptoss_flow.events import Json
from gptoss_flow.tools.mcp.listing import read_listing
from tests.steps.made_tools import MadeTool

WORDS = [
    "a",
    "properties",
    "type",
    "required",
    "anyOf",
    "items",
    "$ref",
    "$defs",
    "enum",
    "minimum",
    "object",
    "#",
]
WORDS += [
    "$id",
    "$schema",
    "$anchor",
    "$dynamicRef",
    "not",
    "#/$defs/a",
    "dependentRequired",
    "multipleOf",
    "string",
]


def words() -> st.SearchStrategy[Any]:
    return st.recursive(
        st.sampled_from(WORDS) | st.integers(-1, 3) | st.booleans() | st.none(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
        max_leaves=12,
    )


def listed(schema: Json) -> tuple[MadeTool | None, str]:
    """The tool as it is taken, or why it is not."""
    found = read_listing("s", [("t", "", schema)], None)
    if found.refused:
        return None, found.refused["t"]
    return MadeTool("s.t", parameters=found.tools["t"].parameters), ""


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(WORDS), words(), max_size=5), st.dictionaries(st.just("a"), words()))
def test_whatever_a_schema_says_it_is_refused_or_calls_are_held_against_it(
    schema: dict[str, Any], arguments: dict[str, Any]
) -> None:
    tool, _ = listed({**schema, "type": "object"})
    if tool is not None:
        check_arguments(tool, arguments)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": [1]},
        {"properties": {"a": {"type": "nosuch"}}},
        {"properties": {"a": {"multipleOf": 0}}},
        {"required": 5},
        {"$id": "http://[", "properties": {"a": {"$ref": "#"}}},
    ],
)
def test_what_is_no_schema_is_left_out_with_the_reason(schema: dict[str, Any]) -> None:
    _, why = listed({"type": "object", **schema})
    assert why.startswith("its input schema")


@pytest.mark.parametrize("dialect", [{}, {"$schema": "http://json-schema.org/draft-07/schema#"}])
def test_a_schema_that_doubles_itself_again_and_again_is_given_up(dialect: dict[str, Any]) -> None:
    both = {f"d{i}": {**dialect, "anyOf": [{"$ref": f"#/$defs/d{i + 1}"}] * 2} for i in range(40)}
    defs = {**both, "d40": {"type": "integer"}}
    tool, _ = listed({"type": "object", "properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": defs})
    assert tool is not None
    (problem,) = check_arguments(tool, {"a": "x"})
    assert "cannot be followed: it takes more than 20,0" in problem.message
    assert not check_arguments(tool, {"a": 1})


def test_a_name_that_a_model_could_not_say_or_tell_from_another_is_left_out_alone() -> None:
    names = ["a.b", "a__b", "x" * 62, "x" * 61, "c.d"]
    found = read_listing("s", [(name, "", {"type": "object"}) for name in names], None)
    assert [*found.tools] == ["a.b", "x" * 61, "c.d"]
    assert found.refused == {
        "a__b": "a model could not tell it from s.a.b: both are s__a__b to it",
        "x" * 62: f"a model would call it s__{'x' * 62}, which is longer than 64 characters",
    }
