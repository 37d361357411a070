"""Properties that hold for any text and any value."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.refs import (
    FILTERS,
    TESTS,
    EvaluationError,
    NeedsTokens,
    TemplateError,
    compile_value,
    parse,
    parse_expression,
    to_text,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [
        "${{",
        "}}",
        "{%",
        "%}",
        "{%-",
        "-}}",
        " ",
        "\n",
        "for",
        "in",
        "if",
        "elif",
        "else",
        "endif",
        "endfor",
        "set",
        "endset",
        "raw",
        "endraw",
        "x",
        "y",
        "v",
        "loop",
        "steps",
        "steps.a",
        ".b",
        "[0]",
        "['k']",
        "[",
        "]",
        "(",
        ")",
        "{",
        "}",
        ",",
        ":",
        "|",
        "upper",
        "default",
        "map",
        "is",
        "defined",
        "not",
        "and",
        "or",
        "+",
        "-",
        "*",
        "**",
        "//",
        "%",
        "~",
        "==",
        "<",
        "=",
        "1",
        "2.5",
        "9" * 30,
        "'s'",
        '"',
        "'",
        "\\",
        "range",
        "true",
        "none",
        "\U0001d4b3",
        "é",
        "\x00",
        "recursive",
        "import",
        "&",
        "!",
    ]
)
SOURCES = (
    st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=40)
)
SCOPES = st.fixed_dictionaries({"v": VALUES, "x": VALUES, "steps": st.fixed_dictionaries({"a": VALUES})})


@given(st.text())
def test_text_without_tags_stays_as_it_is(text: str) -> None:
    if "${{" not in text and "{%" not in text:
        assert parse(text).render({}) == text


@given(st.text(), st.text())
def test_text_around_an_expression_stays_as_it_is(before: str, after: str) -> None:
    if (
        not any(tag in before + "|" + after for tag in ("${{", "{%"))
        and not before.endswith("$")
        and (before + after).strip()
    ):
        assert parse(f"{before}${{{{ v }}}}{after}").render({"v": "<>"}) == f"{before}<>{after}"


@given(SOURCES, SCOPES)
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_template_or_a_template_error_and_any_rendering_a_value_or_an_error(
    source: str, scope: Any
) -> None:
    for compile_text in (parse, parse_expression):
        try:
            template = compile_text(source)
        except TemplateError as error:
            assert error.message
            assert 0 <= error.occurrence <= source.count("${{") + source.count("{%")
            continue
        try:
            template.render(scope)
        except (EvaluationError, NeedsTokens):
            continue


@given(st.lists(PIECES, max_size=8).map(" ".join), SCOPES)
@settings(max_examples=300, deadline=None)
def test_the_same_holds_for_what_looks_like_an_expression(words: str, scope: Any) -> None:
    try:
        template = parse("x ${{ v " + words + " }}")
    except TemplateError:
        return
    try:
        assert isinstance(template.render(scope), str)
    except (EvaluationError, NeedsTokens):
        return


@given(st.sampled_from(sorted(FILTERS)), VALUES, st.lists(VALUES, max_size=3))
@settings(max_examples=600, deadline=None)
def test_any_filter_on_any_value_gives_plain_data_or_an_error(name: str, value: Any, args: list[Any]) -> None:
    words = ", ".join(["a", "b", "c"][: len(args)])
    try:
        template = parse_expression(f"v | {name}({words})")
        found = template.render({"v": value, **dict(zip("abc", args, strict=False))})
    except (TemplateError, EvaluationError, NeedsTokens):
        return
    assert type(found) in (type(None), bool, int, float, str, list, dict)


@given(st.sampled_from(sorted(TESTS - {"==", "!=", "<", "<=", ">", ">="})), VALUES, VALUES, st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_test_on_any_value_is_true_or_false_or_an_error(
    name: str, value: Any, arg: Any, given_one: bool
) -> None:
    try:
        found = parse_expression(f"v is {name}" + ("(a)" if given_one else "")).render({"v": value, "a": arg})
    except (TemplateError, EvaluationError):
        return
    assert found in (True, False)


@given(st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "==", "<", "in", "and"]), VALUES, VALUES)
@settings(max_examples=400, deadline=None)
def test_any_operator_on_any_values_gives_plain_data_or_an_error(sign: str, left: Any, right: Any) -> None:
    try:
        found = parse_expression(f"a {sign} b").render({"a": left, "b": right})
    except EvaluationError:
        return
    assert type(found) in (type(None), bool, int, float, str, list, dict)


@given(VALUES)
def test_a_whole_reference_passes_the_very_value_on(value: Any) -> None:
    assert parse("${{ v }}").render({"v": value}) is value


@given(VALUES)
@settings(deadline=None)
def test_a_compiled_tree_is_itself_where_nothing_is_a_template(value: Any) -> None:
    compiled, errors = compile_value(value, ())

    if not errors and compiled.constant:
        assert compiled.render({}) is value


@given(VALUES)
def test_text_inside_other_text_is_the_values_text(value: Any) -> None:
    try:
        text = to_text(value)
    except EvaluationError:
        return
    assert parse(".${{ v }}").render({"v": value}) == f".{text}"
