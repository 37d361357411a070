from __future__ import annotations

import json
from random import Random
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.prompt import json_grammar
from tests.prompt.gbnf import Grammar, parse

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value"],
            "additionalProperties": False,
        }
    },
}


def grammar(schema: Any) -> Grammar:
    return parse(json_grammar.text(json_grammar.rules(schema, "root")))


def accepts(schema: Any, value: Any, **form: Any) -> bool:
    return grammar(schema).matches(json.dumps(value, ensure_ascii=False, **form))


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        (True, [None, 1, -2.5, "x", [], [1, {"a": None}], {"a": [True]}], []),
        ({"type": "string"}, ["", "a", 'q"q', "line\nline", "é🙂", "\\"], [1, None, ["a"]]),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ["ab", "abc"], ["a", "abcd"]),
        ({"type": "string", "maxLength": 5000}, ["a" * 2000], [1]),
        ({"type": "integer"}, [0, -1, 120], [1.5, "1"]),
        ({"type": "integer", "minimum": 0}, [0, 7], [-1]),
        ({"type": "integer", "minimum": 1, "maximum": 5}, [1, 5], [0, 6, -1, 10]),
        ({"type": "integer", "exclusiveMinimum": -3, "exclusiveMaximum": 150}, [-2, 0, 149], [-3, 150, 1000]),
        ({"type": "integer", "minimum": 0.5, "maximum": 2.5}, [1, 2], [0, 3]),
        ({"type": "integer", "minimum": 3, "maximum": 1}, [2], [1.5]),
        ({"type": "integer", "minimum": -1e400}, [2, -2], [1.5]),
        ({"type": "number"}, [0, 1.5, -2e10], ["1"]),
        ({"type": "boolean"}, [True, False], [None, 0]),
        ({"type": "null"}, [None], [False]),
        ({"type": ["string", "null"]}, ["a", None], [1]),
        ({"enum": ["a", 1, None, {"b": 2}]}, ["a", 1, None, {"b": 2}], ["b", 2]),
        ({"const": 'say "x"'}, ['say "x"'], ["say x"]),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, [1, "a"], [None]),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, [1, 2], [3]),
        ({"type": "array", "items": {"type": "integer"}}, [[], [1], [1, 2, 3]], [["a"], {}]),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}, [[1, 2], [1, 2, 3]],
         [[], [1], [1, 2, 3, 4]]),
        ({"type": "array", "maxItems": 0}, [[]], [[1]]),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": "a"}], "items": False}, [[1, "a"]],
         [[], [1], ["a", 1], [1, "a", 2]]),
        ({"type": "object"}, [{}, {"a": 1}], [[], 1]),
        ({"properties": {"a": {"type": "integer"}}, "required": ["a"]}, [{"a": 1}], [{}, {"a": "x"}, {"b": 1}]),
        ({"type": "object", "properties": {"a": {"type": "integer"}, "b": True, "c": {"const": 3}}},
         [{}, {"a": 1}, {"b": None}, {"c": 3}, {"a": 1, "c": 3}, {"a": 1, "b": [], "c": 3}],
         [{"c": 4}, {"b": 1, "a": 1}, {"d": 1}]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"x": 1, "y": 2}], [{"x": "a"}]),
        ({"type": "object", "properties": {"a": {"const": 1}}, "additionalProperties": True},
         [{}, {"a": 1}, {"a": 1, "z": "q"}, {"z": 5}], [[]]),
        ({"type": "object", "required": ["z"]}, [{"z": 1}, {"z": None}], [{}]),
        ({"allOf": [{"properties": {"a": {"const": 1}}, "required": ["a"]},
                    {"properties": {"b": {"const": 2}}, "required": ["b"]}]},
         [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}]),
        (TREE, [{"value": 1}, {"value": 1, "kids": [{"value": 2, "kids": []}]}], [{"kids": []}, {"value": "x"}]),
        ({"type": "string", "format": "date"}, ["2026-01-31"], ["31.1.2026"]),
        ({"type": "string", "format": "date-time"}, ["2026-01-31T10:00:00Z"], ["2026-01-31"]),
        ({"type": "object", "properties": {"ä\n\"": {"const": 1}}}, [{"ä\n\"": 1}], [{"a": 1}]),
    ],
)  # fmt: skip
def test_a_schema_as_a_grammar(schema: Any, yes: list[Any], no: list[Any]) -> None:
    assert [value for value in yes if not accepts(schema, value)] == []
    assert [value for value in no if accepts(schema, value)] == []


@pytest.mark.parametrize("text", ["<|end|>", "a<|", "<<|x", "<|"])
def test_no_text_holds_what_a_control_token_is_spelled_like(text: str) -> None:
    for schema in ({"type": "string"}, {"type": "string", "maxLength": 9}, True):
        assert not accepts(schema, text)
        assert grammar(schema).matches('"' + text.replace("<", "\\u003c") + '"')
    assert accepts({"type": "string"}, 'a < b << c <= d <> "<" | <')


def test_white_space_is_bounded() -> None:
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    assert accepts(schema, {"a": 1}, indent=2)
    assert accepts(schema, {"a": 1}, separators=(",", ":"))
    assert not grammar(schema).matches('{"a":' + " " * 30 + "1}")


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}},
        {"type": "string", "pattern": "^a+$"},
        {"$ref": "https://example.org/s"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
        {"type": "integer", "multipleOf": 5},
        {"if": {"const": 1}},
        7,
        {"type": 7},
        {"properties": 7, "required": 7, "type": "object"},
        {"enum": []},
        {"type": []},
        {"anyOf": "x"},
        {"type": "array", "prefixItems": 3, "items": 3, "minItems": -1},
    ],
)
def test_what_a_grammar_cannot_say_is_left_open(schema: Any) -> None:
    made = grammar(schema).made(Random(1))
    json.loads(made, strict=False)


def test_an_endless_schema_comes_to_an_end() -> None:
    deep: Any = {"type": "string"}
    for _ in range(3000):
        deep = {"type": "object", "properties": {"a": deep}}
    assert len(json_grammar.rules(deep, "root")) < 1000
    wide: Any = {"type": "string"}
    for _ in range(30):
        wide = {"type": ["object", "array"], "properties": {"a": wide}, "items": wide}
    assert len(json_grammar.rules(wide, "root")) < 20_000


def _schemas() -> st.SearchStrategy[Any]:
    leaves = st.sampled_from(
        [
            {"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "null"}, {"type": "number"},
            {"enum": ["a", 2, None]}, {"const": 'x"y'}, {"type": "string", "maxLength": 2},
            {"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1},
            {"type": "integer", "minimum": -12, "exclusiveMaximum": 340},
        ]
    )  # fmt: skip

    def more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        objects = st.dictionaries(st.sampled_from(["a", "b b", 'c"', "é"]), inner, max_size=4).flatmap(
            lambda properties: st.builds(
                # Another property might have the name of a known one, which no grammar can tell.
                lambda required, others: {
                    "type": "object", "properties": properties, "required": required,
                    "additionalProperties": others and not properties,
                },
                st.lists(st.sampled_from(list(properties)), unique=True) if properties else st.just([]),
                st.booleans(),
            )
        )  # fmt: skip
        arrays = st.builds(
            lambda items, least, size: {
                "type": "array",
                "items": items,
                "minItems": least,
                "maxItems": least + size,
            },
            inner,
            st.integers(0, 2),
            st.integers(0, 2),
        )
        return st.one_of(objects, arrays, st.builds(lambda a, b: {"anyOf": [a, b]}, inner, inner))

    return st.recursive(leaves, more, max_leaves=6)


@settings(max_examples=150, deadline=None)
@given(schema=_schemas(), seed=st.integers(0, 10**6))
def test_whatever_a_grammar_allows_follows_the_schema(schema: Any, seed: int) -> None:
    made = grammar(schema).made(Random(seed))
    value = json.loads(made)
    jsonschema.validate(value, schema)


@given(st.integers(-2000, 2000), st.integers(0, 2000), st.integers(-5000, 5000))
def test_an_integer_is_written_exactly_when_it_is_between_the_bounds(least: int, more: int, said: int) -> None:
    schema = {"type": "integer", "minimum": least, "maximum": least + more}
    assert accepts(schema, said) == (least <= said <= least + more)
    assert accepts(schema, least) and accepts(schema, least + more)
    assert not accepts(schema, least - 1) and not accepts(schema, least + more + 1)


@pytest.mark.parametrize("bound", [10**17 + 3, 10**18 - 1, 10**18, 10**30])
def test_large_bounds_hold_as_far_as_integers_are_written(bound: int) -> None:
    most = {"type": "integer", "maximum": bound}
    assert accepts(most, min(bound, 10**18 - 1)) and not accepts(most, bound + 1)
    assert accepts(most, -bound) == (bound < 10**18)
    assert len(json_grammar.text(json_grammar.rules(most, "root"))) < 3000
