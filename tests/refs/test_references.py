"""Which names a template reads, where, and which tag an error stands in."""

from __future__ import annotations

import pytest

from gptoss_flow.refs import EvaluationError, Reference, TemplateError, parse, parse_expression


def seen(text: str) -> list[tuple[str, bool, int]]:
    return [(r.name, r.tolerant, r.occurrence) for r in parse(text).references]


@pytest.mark.parametrize(
    ("text", "references"),
    [
        ("${{ steps.tree.output.files }}", [("steps.tree.output.files", False, 0)]),
        ("${{ steps['tree']['output'] }}", [("steps.tree.output", False, 0)]),
        ("${{ steps.a.output[0].x }}", [("steps.a.output[0].x", False, 0)]),
        ("${{ steps.a.output[inputs.i].x }}", [("steps.a.output", False, 0), ("inputs.i", False, 0)]),
        ("a ${{ inputs.a }} b ${{ vars.b }}", [("inputs.a", False, 0), ("vars.b", False, 1)]),
        (
            "${{ steps.a.output | default(steps.b.output) }}",
            [("steps.a.output", True, 0), ("steps.b.output", False, 0)],
        ),
        (
            "${{ steps.a.output | d(steps.b.output) | d(1) }}",
            [("steps.a.output", True, 0), ("steps.b.output", True, 0)],
        ),
        ("${{ steps.a.output is defined }}", [("steps.a.output", True, 0)]),
        ("${{ steps.a.output | upper | default(1) }}", [("steps.a.output", False, 0)]),
        (
            "${{ (steps.a.output if inputs.x else steps.b.output) | default(1) }}",
            [("inputs.x", False, 0), ("steps.a.output", True, 0), ("steps.b.output", True, 0)],
        ),
        (
            "{% for f in steps.a.out %}${{ f.x }}${{ loop.last }}${{ inputs.y }}{% endfor %}${{ f }}${{ loop }}",
            [("steps.a.out", False, 0), ("inputs.y", False, 3), ("f", False, 5), ("loop", False, 6)],
        ),
        (
            "{% set x = inputs.a %}${{ x }}{% if vars.b %}{% endif %}",
            [("inputs.a", False, 0), ("vars.b", False, 2)],
        ),
        ("${{ x }}{% set x = 1 %}", [("x", False, 0)]),
        ("{% set x %}{% set y = 1 %}${{ y }}{% endset %}${{ x }}${{ y }}", [("y", False, 5)]),
        ("{% if a %}{% elif b %}{% endif %}", [("a", False, 0), ("b", False, 1)]),
        ("${{ range(inputs.n) }}${{ true and null }}", [("inputs.n", False, 0)]),
        ("${{ '${{ {% ' }} {% raw %} ${{ x }} {% endraw %} ${{ inputs.a }}", [("inputs.a", False, 6)]),
        ("plain {{ inputs.a }}", []),
    ],
)
def test_references_are_the_free_names_with_their_literal_keys(
    text: str, references: list[tuple[str, bool, int]]
) -> None:
    assert seen(text) == references


def test_a_reference_holds_its_keys_one_by_one() -> None:
    (reference,) = parse("${{ steps.tree.output['a b'][0] }}").references

    assert reference == Reference("steps", ("tree", "output", "a b", "0"), tolerant=False, occurrence=0)
    assert reference.name == 'steps.tree.output["a b"][0]'


def test_a_bare_expression_has_references_too() -> None:
    assert [r.name for r in parse_expression("output.n > inputs.least").references] == ["output.n", "inputs.least"]


@pytest.mark.parametrize(
    ("text", "occurrence"),
    [
        ("${{ 1 }} ${{ a b }}", 1),
        ("${{ '${{ {%' }} ${{ a b }}", 3),
        ("{% raw %}${{ {%{% endraw %}${{ a | uper }}", 4),
        ("{% for x in y %}\n{% if x %}\n{% endif %}", 0),
        ("${{ 1 }}{% for x in y %}{% if x %}{% endfor %}", 3),
        ("${{ 1 }} ${{ 'open", 1),
        ("${{ 1 }}{% set x = 1 %}{% set steps = 2 %}", 2),
    ],
)
def test_a_template_error_names_its_tag(text: str, occurrence: int) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text)

    assert caught.value.occurrence == occurrence


@pytest.mark.parametrize(
    ("text", "occurrence"),
    [
        ("${{ 1 }} ${{ nope }} ${{ 2 }}", 1),
        ("${{ '${{' }} ${{ nope }}", 2),
        ("{% for x in [1, 2] %}${{ x }}{% endfor %}${{ nope }}", 3),
        ("{% for a, b in [[1, 2], 3] %}${{ a }}{% endfor %}", 0),
        ("{% if false %}${{ 1 }}{% elif nope %}{% endif %}", 2),
        ("{% set x %}${{ 1 }}${{ 2 }}{% endset %}{% set y = nope %}", 4),
    ],
)
def test_an_evaluation_error_names_its_tag(text: str, occurrence: int) -> None:
    with pytest.raises(EvaluationError) as caught:
        parse(text).render({})

    assert caught.value.occurrence == occurrence


def test_the_values_of_an_expression_can_be_shown() -> None:
    template = parse_expression("output.score > inputs.least and output.list[0] == 1 and output.gone is defined")

    shown = template.shown({"output": {"score": 1, "list": [7]}, "inputs": {"least": 3}})

    assert shown == [("output.score", 1), ("inputs.least", 3), ("output.list[0]", 7)]


def test_the_names_that_a_template_sets_are_known() -> None:
    assert parse("{% for a, b in x %}{% endfor %}{% set c = 1 %}").bound == (("a", 0), ("b", 0), ("c", 2))
