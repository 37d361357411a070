"""What needs no parser is read as the parser reads it."""

from __future__ import annotations

import re
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.refs import EvaluationError, Template, TemplateError, parse, tags

NAMES = st.sampled_from(
    ["steps", "a", "b", "loop", "item", "null", "true", "None", "not", "range", "items", "_x", "é"]
)
SPACE = st.sampled_from(["", " ", "\n", "  "])
QUOTED = st.sampled_from(
    ["''", '""', "'x'", '"it\'s"', "'é ${{'", "'\\n'", '"a" "b"', "1", "none", "'x', true", "x"]
)
FILTER = st.sampled_from(["default", "d", "dd", "upper", "default "])
SCOPES = st.sampled_from(
    [{}, {"a": None}, {"a": {"b": None}}, {"a": {"b": [1, {"c": "x"}]}}, {"a": "text"}, {"steps": {"a": {"b": 1}}}]
)
NEVER = re.compile(r"(?!)")


@st.composite
def expressions(draw: st.DrawFn) -> str:
    space = [draw(SPACE) for _ in range(5)]
    path = ".".join(draw(st.lists(NAMES, min_size=1, max_size=4)))
    filters = f"{space[1]}|{space[2]}{draw(FILTER)}({space[3]}{draw(QUOTED)})" if draw(st.booleans()) else ""
    return "${{" + space[0] + path + filters + space[4] + draw(st.sampled_from(["", "-"])) + "}}"


def result(template: Template, scope: dict[str, object]) -> object:
    try:
        return template.render(scope)
    except EvaluationError as error:
        return (error.message, error.hint, error.occurrence)


def read(text: str) -> Template | tuple[str, str, int]:
    try:
        return parse.__wrapped__(text)
    except TemplateError as error:
        return error.message, error.hint, error.occurrence


@settings(max_examples=600, deadline=None)
@given(st.lists(expressions() | st.sampled_from(["text ", "\n"]), min_size=1, max_size=3).map("".join), SCOPES)
def test_a_reference_and_its_default_mean_the_same_with_and_without_the_parser(
    text: str, scope: dict[str, object]
) -> None:
    quick = read(text)
    with patch.object(tags, "_DOTTED", NEVER):
        full = read(text)
    if not isinstance(quick, Template) or not isinstance(full, Template):
        assert quick == full
        return
    assert (quick.references, quick.bound, quick.whole) == (full.references, full.bound, full.whole)
    assert result(quick, scope) == result(full, scope)


def test_the_usual_forms_need_no_parser() -> None:
    for text in ("${{ a.b }}", '${{ steps.a.output | default("") }}', "x ${{ a | d('none') -}} y"):
        assert {token.type for token in tags.read(text).tokens} == {"data"}, text
