"""Every filter and test of the language, each with what it gives; the tables are complete."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from gptoss_flow.refs import FILTERS, TESTS, EvaluationError, parse_expression

ROWS = [{"k": "b", "n": 2, "in": {"x": 1}}, {"k": "A", "n": 1, "in": {"x": 2}}, {"k": "b", "n": 3, "in": {"x": 3}}]
SCOPE: dict[str, Any] = {
    "rows": ROWS,
    "m": {"b": 1, "A": 2},
    "text": "one two\nthree",
    "holes": [{"x": 1}, {"x": None}, {}],
}

FILTER_CASES: list[tuple[str, Any]] = [
    ("-3 | abs", 3),
    ("'a/b.py' | basename", "b.py"),
    ("'a/b/' | basename", "b"),
    ("'/' | basename", "/"),
    ("[1, 2, 3] | batch(2)", [[1, 2], [3]]),
    ("[1, 2, 3] | batch(2, 0)", [[1, 2], [3, 0]]),
    ("'aBC d' | capitalize", "Abc d"),
    ("rows | count", 3),
    ("gone | d('x')", "x"),
    ("none | default('x')", "x"),
    ("m | dictsort", [["A", 2], ["b", 1]]),
    ("m | dictsort(by='value')", [["b", 1], ["A", 2]]),
    ("m | dictsort(case_sensitive=true, reverse=true)", [["b", 1], ["A", 2]]),
    ("'a/b.py' | dirname", "a"),
    ("'b.py' | dirname", "."),
    ("'/b.py' | dirname", "/"),
    ("'a//b/' | dirname", "a"),
    ("13000 | filesizeformat", "13.0 kB"),
    ("2048 | filesizeformat(true)", "2.0 KiB"),
    ("1 | filesizeformat", "1 Byte"),
    ("1e30 | filesizeformat", "1000000.0 YB"),
    ("[1, 2] | first", 1),
    ("'1.5' | float", 1.5),
    ("'x' | float", 0.0),
    ("'inf' | float(7)", 7),
    ("'{\"a\": [1, 2.5, null]}' | fromjson", {"a": [1, 2.5, None]}),
    ("rows | groupby('k') | map('first')", ["A", "b"]),
    ("(rows | groupby('k'))[1][1] | map(attribute='n')", [2, 3]),
    ("holes | groupby('x', default=0) | map('first')", [0, 1]),
    ("'a\nb\n\nc' | indent(2)", "a\n  b\n\n  c"),
    ("'a\n\nb' | indent('> ', first=true, blank=true)", "> a\n> \n> b"),
    ("'42' | int", 42),
    ("'4.9' | int", 4),
    ("'x' | int(7)", 7),
    ("'ff' | int(base=16)", 255),
    ("'0x1A' | int(0, 16)", 26),
    ("m | items", [["b", 1], ["A", 2]]),
    ("['a', 1, true, none] | join('-')", "a-1-true-null"),
    ("rows | join(',', attribute='k')", "b,A,b"),
    ("[1, 2] | last", 2),
    ("m | length", 2),
    ("'a\r\nb\rc\n' | lines", ["a", "b", "c"]),
    ("'' | lines", []),
    ("'ab' | list", ["a", "b"]),
    ("m | list", ["b", "A"]),
    ("'AbC' | lower", "abc"),
    ("rows | map(attribute='in.x')", [1, 2, 3]),
    ("holes | map(attribute='x', default=0)", [1, 0, 0]),
    ("['a', 'b'] | map('upper')", ["A", "B"]),
    ("['aa', 'ba'] | map('replace', 'a', 'x')", ["xx", "bx"]),
    ("[[1], [2]] | map('map', 'string')", [["1"], ["2"]]),
    ("[none, 1] | map('default', 0)", [0, 1]),
    ("[3, 1] | max", 3),
    ("rows | max(attribute='n')", ROWS[2]),
    ("['b', 'A'] | min", "A"),
    ("[1, 2, 3] | reject('odd')", [2]),
    ("[0, 1, ''] | reject", [0, ""]),
    ("rows | rejectattr('k', 'eq', 'b') | map(attribute='n')", [1]),
    ("'k: v1 v2' | regex_search('v[0-9]')", "v1"),
    ("'k: v1' | regex_search('(?P<key>[a-z]): (v)(x)?')", ["k", "v", None]),
    ("'k' | regex_search('x')", None),
    ("'K' | regex_search('(?i)k')", "K"),
    ("'aaa' | replace('a', 'b', 2)", "bba"),
    ("'ab' | reverse", "ba"),
    ("[1, 2] | reverse", [2, 1]),
    ("2.567 | round(2)", 2.57),
    ("2.1 | round(method='ceil')", 3.0),
    ("2.19 | round(1, 'floor')", 2.1),
    ("[1, 2, 3] | select('odd')", [1, 3]),
    ("[0, 1, ''] | select", [1]),
    ("[1, 2, 3] | select('>', 1)", [2, 3]),
    ("rows | selectattr('n', 'in', [1, 3]) | map(attribute='n')", [1, 3]),
    ("holes | selectattr('x', 'defined') | length", 2),
    ("'abc' | sha256", hashlib.sha256(b"abc").hexdigest()),
    ("[1, 2, 3, 4, 5] | slice(2)", [[1, 2, 3], [4, 5]]),
    ("[1, 2, 3, 4, 5] | slice(2, 0)", [[1, 2, 3], [4, 5, 0]]),
    ("['b', 'A', 'c'] | sort", ["A", "b", "c"]),
    ("['b', 'A'] | sort(true, true)", ["b", "A"]),
    ("rows | sort(attribute='k,n') | map(attribute='n')", [1, 2, 3]),
    ("text | split", ["one", "two", "three"]),
    ("'a,b,c' | split(',', 1)", ["a", "b,c"]),
    ("[1, 'a'] | string", '[1, "a"]'),
    ("[1, 2.5] | sum", 3.5),
    ("rows | sum(attribute='n')", 6),
    ("[[1], [2, 3]] | sum(start=[])", [1, 2, 3]),
    ("'hello big-world' | title", "Hello Big-World"),
    ("{'a': '<é>', 'b': none} | tojson", '{"a": "<é>", "b": null}'),
    ("[1] | tojson(indent=2)", "[\n  1\n]"),
    ("' a ' | trim", "a"),
    ("'xax' | trim('x')", "a"),
    ("'foo bar baz qux' | truncate(9)", "foo..."),
    ("'foo bar baz qux' | truncate(9, true)", "foo ba..."),
    ("'foo bar baz qux' | truncate(11)", "foo bar baz qux"),
    ("'abc' | truncate_tokens(3)", "abc"),
    ("'abc' | truncate_tokens(0)", ""),
    ("['b', 'B', 'a', [1], [1]] | unique", ["b", "a", [1]]),
    ("rows | unique(attribute='k') | map(attribute='n')", [2, 1]),
    ("'aé' | upper", "AÉ"),
    ("'a b/é&' | urlencode", "a%20b/%C3%A9%26"),
    ("{'q': 'a b', 'n': 1} | urlencode", "q=a%20b&n=1"),
    ("text | wordcount", 3),
    ("'aa bb cc' | wordwrap(5)", "aa bb\ncc"),
    ("'abcdef' | wordwrap(4)", "abcd\nef"),
    ("'abcdef gh' | wordwrap(4, false)", "abcdef\ngh"),
]

TEST_CASES: list[tuple[str, bool]] = [
    ("true is boolean", True),
    ("1 is boolean", False),
    ("6 is divisibleby 3", True),
    ("6 is divisibleby(4)", False),
    ("2 is even", True),
    ("2 is odd", False),
    ("false is false", True),
    ("0 is false", False),
    ("true is true", True),
    ("1 is true", False),
    ("1.0 is float", True),
    ("1 is float", False),
    ("1 is integer", True),
    ("true is integer", False),
    ("1 is in [1, 2]", True),
    ("'x' is in 'abc'", False),
    ("[] is iterable", True),
    ("1 is iterable", False),
    ("'ab' is lower", True),
    ("'aB' is lower", False),
    ("'AB' is upper", True),
    ("m is mapping", True),
    ("[] is mapping", False),
    ("[] is sequence", True),
    ("1 is sequence", False),
    ("none is none", True),
    ("0 is none", False),
    ("1.5 is number", True),
    ("true is number", False),
    ("'a' is string", True),
    ("1 is string", False),
    ("m is defined", True),
    ("gone is defined", False),
    ("gone is undefined", True),
    ("gone is not undefined", False),
    ("1 is eq 1", True),
    ("1 is equalto 2", False),
    ("1 is ne 2", True),
    ("1 is lt 2", True),
    ("1 is lessthan 1", False),
    ("1 is le 1", True),
    ("2 is gt 1", True),
    ("1 is greaterthan 1", False),
    ("1 is ge 1", True),
    ("[1, 2] | select('==', 1) == [1]", True),
    ("[1, 2] | select('!=', 1) == [2]", True),
    ("[1, 2] | select('<', 2) == [1]", True),
    ("[1, 2] | select('<=', 1) == [1]", True),
    ("[1, 2] | select('>', 1) == [2]", True),
    ("[1, 2] | select('>=', 2) == [2]", True),
]


@pytest.mark.parametrize(("text", "value"), FILTER_CASES)
def test_a_filter_gives(text: str, value: Any) -> None:
    found = parse_expression(text).render(SCOPE)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(("text", "value"), TEST_CASES)
def test_a_test_gives(text: str, value: bool) -> None:
    assert parse_expression(text).render(SCOPE) is value


def test_every_filter_and_test_has_a_case() -> None:
    assert {name for name in FILTERS if not any(f"| {name}" in text for text, _ in FILTER_CASES)} == set()
    cases = [text for text, _ in TEST_CASES]
    assert {t for t in TESTS if not any(f" is {t}" in c or f"'{t}'" in c for c in cases)} == set()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1] | sha256", "takes text, not a list"),
        ("'a' | abs", "takes a number, not text"),
        ("1 | first", "takes a list, not a number"),
        ("[] | items", "takes a mapping, not a list"),
        ("'[1,' | fromjson", "cannot read this text as JSON"),
        ("'[NaN]' | fromjson", "cannot"),
        ("'[1e999]' | fromjson", "cannot read this text as JSON"),
        (
            "'[99999999999999999999]' | fromjson",
            "cannot read this text as JSON: an integer would be beyond 64 bits",
        ),
        ("'\"\\\\ud800\"' | fromjson", "cannot read this text as JSON"),
        ("rows | map(attribute='gone') ", 'the value has no "gone"; it has: k, n, in'),
        ("rows | selectattr('gone')", 'the value has no "gone"'),
        ("rows | sort", "cannot put these in order: a mapping"),
        ("[1, 'a'] | max", "cannot compare these items"),
        ("'a' | split('')", "takes a separator that is not empty"),
        ("[1] | batch(0)", "takes an integer from 1 to 100,000 here, not 0"),
        ("'a' | indent(-1)", "takes an integer from 0"),
        ("1 | round(99)", "takes an integer from -15 to 15"),
        ("'a' | regex_search('(?=a)' ~ '')", "cannot read the pattern"),
        ("'a' | regex_search('(a)' ~ '\\\\1')", "cannot read the pattern"),
        ("'a' | truncate_tokens('x')", "takes an integer"),
        ("6 is divisibleby 0", "takes a divisor that is not 0"),
    ],
)
def test_a_filter_refuses_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        parse_expression(text).render(SCOPE)

    assert message in str(caught.value)


@pytest.mark.parametrize("attribute", ["__class__", "__len__", "upper", "keys", "items", "__init__.__globals__"])
@pytest.mark.parametrize(
    "filter_",
    [
        "map(attribute=A)",
        "groupby(A)",
        "sort(attribute=A)",
        "sum(attribute=A)",
        "selectattr(A)",
        "rejectattr(A)",
        "unique(attribute=A)",
        "max(attribute=A)",
        "min(attribute=A)",
        "join(',', attribute=A)",
    ],
)
def test_an_attribute_argument_looks_up_keys_only(filter_: str, attribute: str) -> None:
    with pytest.raises(EvaluationError, match="has no"):
        parse_expression(f"rows | {filter_.replace('A', repr(attribute))}").render(SCOPE)
