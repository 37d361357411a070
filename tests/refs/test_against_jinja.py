"""Where the language is Jinja's, it behaves as Jinja itself does: the two render the same templates."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Environment, StrictUndefined

from gptoss_flow import refs

JINJA = Environment(
    variable_start_string="${{",
    comment_start_string="\ue000\ue001\ue002",
    comment_end_string="\ue002\ue001\ue000",
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    undefined=StrictUndefined,
    autoescape=False,
    finalize=refs.to_text,
)
SCOPE: dict[str, Any] = {
    "n": 3,
    "m": 7,
    "s": "Some text",
    "t": "a\n b\n",
    "empty": "",
    "xs": [3, 1, 2],
    "ws": ["b", "a"],
}

TEXT = st.sampled_from(
    ["", " ", "\n", "  ", "\n\n", "a", " b ", "\n  c", "d\n", "{{ x }}", "{#", "}}", "%}", "$", "{"]
)
SIGN = st.sampled_from(["", "", "", "-"])
BLOCK_SIGN = st.sampled_from(["", "", "", "-", "+"])
OPERAND = st.sampled_from(["n", "m", "1", "0", "2", "10", "s", "'x'", "t", "empty", "xs", "ws", "nope"])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    shape = draw(
        st.sampled_from(
            [
                "{0}",
                "{0}",
                "{0} + {1}",
                "{0} - {1}",
                "{0} * {1}",
                "{0} // {1}",
                "{0} % {1}",
                "{0} == {1}",
                "{0} != {1}",
                "{0} < {1}",
                "{0} in {1}",
                "{0} not in {1}",
                "{0} and {1}",
                "{0} or {1}",
                "not {0}",
                "-{0}",
                "{0} if {1} else {2}",
                "({0} or {1}) and {2}",
                "{0} | upper",
                "{0} | length",
                "{0} | join('-')",
                "{0} | default({1})",
                "{0} | first",
                "{0} | sort | join(',')",
                "{0} | replace('e', {1})",
                "{0}[0]",
                "{0}[1:]",
                "{0}[-1]",
                "{0} | reverse | list | length",
                "{0} is defined",
                "{0} is string",
                "{0} is odd",
                "{0} < {1} < {2}",
                "{0} + {1} * {2}",
                "{0} ** {1} ** {2}",
                "{0} | title | trim",
                "{0} | sum",
                "{0} | max",
                "{0} | indent(2, {1})",
                "{0} | wordcount",
                "{0} | truncate(4)",
                "{0} | batch(2) | list | length",
                "{0} | int",
                "{0} | unique | list | length",
                "({0} ~ 'q') | capitalize",
            ]
        )
    )
    return str(shape.format(draw(OPERAND), draw(OPERAND), draw(OPERAND)))


@st.composite
def templates(draw: st.DrawFn, depth: int = 2) -> str:
    parts = [draw(TEXT)]
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(
            st.sampled_from(["print", "print", "if", "for", "set", "capture", "raw"] if depth else ["print"])
        )

        def tag(words: str) -> str:
            return f"{{%{draw(BLOCK_SIGN)} {words} {draw(BLOCK_SIGN)}%}}"

        inner = templates(depth=depth - 1)
        match kind:
            case "print":
                parts.append(f"${{{{{draw(SIGN)} {draw(expressions())} {draw(SIGN)}}}}}")
            case "if":
                parts += [tag(f"if {draw(expressions())}"), draw(inner), tag("else"), draw(inner), tag("endif")]
            case "for":
                name = draw(st.sampled_from(["x", "y"]))
                body = draw(st.sampled_from([f"${{{{ {name} }}}}", "${{ loop.index }}/${{ loop.length }}", ""]))
                head = draw(
                    st.sampled_from([f"for {name} in xs", f"for {name} in ws", f"for {name} in xs if {name} > 1"])
                )
                parts += [tag(head), body, draw(inner), tag("endfor")]
            case "set":
                parts += [tag(f"set z = {draw(expressions())}"), "${{ z }}"]
            case "capture":
                parts += [tag("set z"), draw(inner), tag("endset"), "${{ z }}"]
            case "raw":
                parts.append(
                    "{% raw %}" + draw(st.sampled_from([" ${{ n }} ", "\n {% if %}\n", ""])) + "{% endraw %}"
                )
        parts.append(draw(TEXT))
    return "".join(parts)


def ours(text: str) -> str | None:
    try:
        value = refs.parse("." + text).render(SCOPE)
    except (refs.TemplateError, refs.EvaluationError):
        return None
    assert isinstance(value, str)
    return value


def theirs(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's own, of the code that Jinja makes
            return JINJA.from_string("." + text).render(SCOPE)
    except Exception:  # Jinja has no one class for what goes wrong in its filters
        return None


@given(templates())
@settings(max_examples=300, deadline=None)
def test_what_both_can_render_they_render_alike(text: str) -> None:
    our, their = ours(text), theirs(text)

    if our is not None and their is not None:
        # A list joined to text has JSON's quotes here, Python's there.
        assert our.replace('"', "'") == their.replace('"', "'")


@given(templates())
@settings(max_examples=150, deadline=None)
def test_a_template_of_ours_is_one_of_jinjas(text: str) -> None:
    try:
        refs.parse(text)
    except refs.TemplateError:
        return
    JINJA.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "a\n  {% if true %}  \n  b\n  {% endif %}\nc",
        "{% for x in xs -%}\n  ${{ x }},\n{%- endfor %}\n",
        "  {%- if true +%}\n x {%+ endif -%}  y",
        " {% raw %}\n x\n {% endraw %}\n y",
        " {%- raw -%}\n x\n {%- endraw -%}\n y",
        "${{- n -}} x",
        " ${{ n -}}\n\n x",
        "a{% set q = 1 %}\n\nb${{ q }}\n",
    ],
)
def test_white_space_is_trimmed_as_jinja_does(text: str) -> None:
    assert ours(text) == theirs(text) is not None
