"""YAML values with templates in them, texts that wait for a tokenizer, and what rendering costs."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gptoss_flow.refs import EvaluationError, NeedsTokens, compile_value, parse


def test_a_value_renders_its_templates_and_shares_the_rest() -> None:
    data = {
        "a": "${{ inputs.n }}",
        "${{ k }}": ["x", "n=${{ inputs.n }}", {"deep": [1, None]}],
        "c": {"d": [True]},
    }

    compiled, errors = compile_value(data, ("steps", "s"))
    value = compiled.render({"inputs": {"n": 3}})

    assert errors == []
    assert value == {"a": 3, "${{ k }}": ["x", "n=3", {"deep": [1, None]}], "c": {"d": [True]}}
    assert value["c"] is data["c"]
    assert not compiled.constant
    assert [path for path, _ in compiled.references] == [("steps", "s", "a"), ("steps", "s", "${{ k }}", 1)]


def test_a_value_without_templates_is_itself() -> None:
    data = {"a": [1, "{{ x }}", "${ y }"]}

    compiled, errors = compile_value(data, ())

    assert errors == []
    assert compiled.constant
    assert compiled.render({}) is data


def test_every_error_of_a_value_is_found_with_its_place() -> None:
    data = {"a": "${{ x", "b": ["ok ${{ y }}", "${{ z | uper }}"], "c": "{% set steps = 1 %}"}

    compiled, errors = compile_value(data, ("vars",))

    assert [path for path, _ in errors] == [("vars", "a"), ("vars", "b", 1), ("vars", "c")]
    assert compiled.render({"y": 1})["b"][0] == "ok 1"


def test_a_name_that_the_caller_reserves_cannot_be_set() -> None:
    _, errors = compile_value(["{% for file in x %}{% endfor %}"], ("a",), reserved={"file"})

    assert [(path, error.occurrence, error.message) for path, error in errors] == [
        (("a", 0), 0, '"file" is in scope here and cannot be set')
    ]


def test_an_evaluation_error_carries_the_path_of_its_scalar() -> None:
    compiled, _ = compile_value({"a": ["x", "${{ 1 }} ${{ nope }}"]}, ("steps", "s"))

    with pytest.raises(EvaluationError) as caught:
        compiled.render({})

    assert caught.value.path == ("steps", "s", "a", 1)
    assert caught.value.occurrence == 1


def test_texts_that_must_be_cut_are_named_all_at_once_and_then_used() -> None:
    data = [
        "${{ a | truncate_tokens(2) }}",
        "{% for t in [a, b] %}<${{ t | truncate_tokens(3) }}>{% endfor %}",
        "${{ a }}",
    ]
    compiled, _ = compile_value(data, ())
    scope = {"a": "one two three", "b": "four five six"}

    with pytest.raises(NeedsTokens) as caught:
        compiled.render(scope)

    assert compiled.uses_tokens
    assert caught.value.cuts == {("one two three", 2), ("one two three", 3), ("four five six", 3)}
    cuts = {(text, n): " ".join(text.split()[:n]) for text, n in caught.value.cuts}
    assert compiled.render(scope, cuts) == ["one two", "<one two three><four five six>", "one two three"]


def test_a_text_that_cannot_have_too_many_tokens_is_not_cut() -> None:
    assert parse("${{ 'abc' | truncate_tokens(3) }}").render({}) == "abc"
    with pytest.raises(NeedsTokens):
        parse("${{ 'äbc' | truncate_tokens(3) }}").render({})


def test_what_fails_only_because_a_text_is_not_cut_yet_still_asks_for_the_cut() -> None:
    template = parse("${{ (a | truncate_tokens(2) | fromjson).x }}")

    with pytest.raises(NeedsTokens):
        template.render({"a": '{"x": 1} and more'})
    assert template.render({"a": '{"x": 1} and more'}, {('{"x": 1} and more', 2): '{"x": 1}'}) == 1


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("${{ a | truncate_tokens(1) }}", True),
        ("${{ a | map('truncate_tokens', 1) }}", True),
        ("{% set x | truncate_tokens(5) %}a{% endset %}", True),
        ("{% if false %}${{ a | truncate_tokens(1) }}{% endif %}", True),
        ("truncate_tokens ${{ 'truncate_tokens' }}", False),
    ],
)
def test_the_use_of_a_tokenizer_is_known_before_rendering(text: str, uses: bool) -> None:
    assert parse(text).uses_tokens is uses


def test_rendering_does_not_change_its_scope() -> None:
    scope: dict[str, Any] = {"rows": [{"n": 2}, {"n": 1}], "m": {"a": [1]}}
    parse("{% set x = rows | sort(attribute='n') %}{% for r in x %}{% set y = m %}{% endfor %}").render(scope)

    parse("${{ m.a | sum(start=0) }} ${{ rows | batch(3, 'fill') }} ${{ [[1]] | sum(start=m.a) }}").render(scope)

    assert scope == {"rows": [{"n": 2}, {"n": 1}], "m": {"a": [1]}}


def test_a_reference_renders_in_microseconds_and_small_templates_compile_in_fractions_of_a_millisecond() -> None:
    scope = {"steps": {"a": {"output": ["x"] * 1000}}}
    template = parse("${{ steps.a.output }}")
    start = time.process_time()
    for _ in range(10_000):
        template.render(scope)
    rendering = time.process_time() - start
    start = time.process_time()
    for i in range(2_000):
        parse(f"Read ${{{{ steps.s{i}.output }}}} for ${{{{ inputs.who | upper }}}}")
    compiling = time.process_time() - start

    # Ten times what it takes on a slow machine.
    assert rendering < 10_000 * 30e-6
    assert compiling < 2_000 * 2e-3
