"""Inputs: what is allowed, what is said of what is not, how text from the command line is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.lang.inputs import Input, bind, read_value


def declared(**keys: Any) -> Input:
    return Input.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        ({"type": "integer"}, "12", 'must be a whole number, not "12"'),
        ({"type": "integer", "maximum": 3}, 4, "must be at most 3, not 4"),
        ({"type": "integer", "minimum": 3}, 2, "must be at least 3, not 2"),
        ({"type": "number", "exclusiveMinimum": 0}, 0, "must be more than 0, not 0"),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'must be one of "a", "b", not "c"'),
        ({"type": "string", "pattern": "^x"}, "y", 'must match the pattern "^x", not be "y"'),
        ({"type": "string", "maxLength": 2}, "abc", 'must have at most 2 characters, not "abc"'),
        ({"type": "array", "items": {"type": "integer"}}, [1, "x"], '[1] must be a whole number, not "x"'),
        ({"type": "array", "minItems": 1}, [], "must not be empty"),
        ({"type": "object", "properties": {"a": {"type": "boolean"}}}, {"a": 1}, "a must be true or false, not 1"),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(keys: dict[str, Any], value: Any, said: str) -> None:
    assert declared(**keys).faults(value) == [said]


def test_a_declaration_that_is_no_json_schema_says_so() -> None:
    fault = declared(type="array", items={"type": "nonsense"}).schema_fault()
    assert fault is not None
    assert fault[0] == ("items", "type") and fault[1].startswith("no JSON Schema: items.type must be one of")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "12", "12"),
        ("string", "", ""),
        ("integer", "12", 12),
        ("number", "12", 12),
        ("number", "1.5", 1.5),
        ("boolean", "True", True),
        ("array", "[1, x]", [1, "x"]),
        ("object", '{"a": [1]}', {"a": [1]}),
        ("path", "./x y", "./x y"),
    ],
)
def test_text_is_read_as_its_type_says(kind: str, text: str, value: Any) -> None:
    read = read_value(declared(type=kind), text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"), [("integer", "1.5"), ("integer", "x"), ("boolean", "yes"), ("number", "")]
)
def test_text_that_is_not_of_the_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=f'must be .*, not "{text}"'):
        read_value(declared(type=kind), text)


def test_text_that_is_no_yaml_is_refused_as_a_list() -> None:
    with pytest.raises(ValueError, match="must be a list, as YAML or JSON: "):
        read_value(declared(type="array"), "[1")


def test_binding_finds_every_fault_at_once(tmp_path: Path) -> None:
    inputs = {
        "need": declared(type="string"),
        "many": declared(type="integer", maximum=3),
        "tree": declared(type="path"),
        "new": declared(type="path", must_exist=False),
        "more": declared(type="string", default="x"),
    }
    values, faults = bind(inputs, {"many": 9, "tree": "nowhere", "new": "nowhere", "mor": 1}, tmp_path)
    assert values["more"] == "x"
    assert [fault.message for fault in faults] == [
        'unknown input "mor"',
        'the input "need" is required',
        'input "many": must be at most 3, not 9',
        f'input "tree": "nowhere" does not exist in {tmp_path}',
    ]


def test_a_path_is_relative_to_the_callers_folder(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    assert bind({"p": declared(type="path")}, {"p": "src"}, tmp_path) == ({"p": "src"}, [])
