"""What the contract says about values and templates (flow-language.md, section 2), sentence by sentence."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.refs import EvaluationError, TemplateError, parse, parse_expression

SCOPE: dict[str, Any] = {
    "inputs": {"path": "src", "n": 3, "flag": True, "nothing": None, "ratio": 0.5},
    "vars": {"title": "Report", "keys": "k", "items": "i"},
    "env": {},
    "steps": {
        "tree": {
            "outcome": "succeeded",
            "error": None,
            "output": {"files": [{"path": "a.py", "text": "A"}, {"path": "b.py", "text": "B"}], "root": "."},
        },
        "skip": {"outcome": "skipped", "error": None},
        "soft": {"outcome": "failed", "error": {"kind": "check", "message": "no"}, "output": None},
        "two words": {"outcome": "succeeded", "output": 1},
    },
    "item": {"path": "c.py", "a b": 1},
    "loop": {"index": 1, "index0": 0, "length": 5, "key": "k"},
}


def render(text: str) -> Any:
    return parse(text).render(SCOPE)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # a whole expression passes its value on as it is
        ("${{ steps.tree.output }}", SCOPE["steps"]["tree"]["output"]),
        ("${{ inputs.n }}", 3),
        (" \n ${{ inputs.n }} \n", 3),
        ("${{ inputs.flag }}", True),
        ("${{ inputs.nothing }}", None),
        ("${{ inputs.ratio }}", 0.5),
        ("${{ '3' }}", "3"),
        ("${{ 'true' }}", "true"),
        ("${{ '[1, 2]' }}", "[1, 2]"),
        ("${{ [inputs.n, 'x'] }}", [3, "x"]),
        ("${{ (1, 2) }}", [1, 2]),
        ("${{ {'a': {'b': inputs.n}} }}", {"a": {"b": 3}}),
        ("${{ null }}", None),
        ("${{ none }}", None),
        # inside other text it is written as text, a mapping or list as JSON
        ("n=${{ inputs.n }}", "n=3"),
        ("${{ inputs.n }}${{ inputs.n }}", "33"),
        ("${{ inputs.n }}.", "3."),
        ("<${{ inputs.flag }} ${{ inputs.nothing }} ${{ inputs.ratio }}>", "<true null 0.5>"),
        ("x ${{ steps.tree.output.files[0] }}", 'x {"path": "a.py", "text": "A"}'),
        ("x ${{ ['é', 1.0] }}", 'x ["é", 1.0]'),
        # keys, never attributes
        ("${{ vars.keys }}${{ vars.items }}", "ki"),
        ("${{ item['a b'] }}", 1),
        ("${{ steps['tree'].output['root'] }}", "."),
        ("${{ steps['two words'].output }}", 1),
        ("${{ steps.tree.output.files[1].path }}", "b.py"),
        ("${{ steps.tree.output.files[-1].path }}", "b.py"),
        ("${{ steps.tree.output.files.0.path }}", "a.py"),
        ("${{ steps.tree.output.files[loop.index0].path }}", "a.py"),
        ("${{ 'abc'[1:] ~ 'abc'[0] }}", "bca"),
        ("${{ [1, 2, 3][::2] }}", [1, 3]),
        # undefined and null under default, attributes of undefined
        ("${{ steps.skip.output | default('d') }}", "d"),
        ("${{ steps.skip.output.a.b[0] | default([]) }}", []),
        ("${{ steps.soft.output | default('d') }}", "d"),
        ("${{ steps.soft.output.x | d('d') }}", "d"),
        ("${{ nope | default('d') }}", "d"),
        ("${{ inputs.nope | default(steps.skip.output) | default(7) }}", 7),
        ("${{ '' | default('d') }}", ""),
        ("${{ '' | default('d', true) }}", "d"),
        ("${{ 0 | default('d', boolean=true) }}", "d"),
        ("${{ inputs.nope | default }}", ""),
        ("${{ (inputs.nope if inputs.flag else 1) | default(2) }}", 2),
        ("${{ [] | first | default('none') }}", "none"),
        ("${{ inputs.nope is defined }}", False),
        ("${{ steps.skip.output.x is undefined }}", True),
        ("${{ inputs.nothing is defined }}", True),
        ("${{ inputs.nothing is none }}", True),
        # operators
        ("${{ 1 + 2 * 3 ** 2 // 2 % 5 - 1 }}", 1 + 2 * 3**2 // 2 % 5 - 1),
        ("${{ 7 / 2 }}", 3.5),
        ("${{ -inputs.n + +1 }}", -2),
        ("${{ 'a' ~ 1 ~ true ~ none ~ [1] }}", "a1truenull[1]"),
        ("${{ 'a' + 'b' }}", "ab"),
        ("${{ [1] + [2] }}", [1, 2]),
        ("${{ 'ab' * 2 }}", "abab"),
        ("${{ 1 < inputs.n <= 3 }}", True),
        ("${{ 'b' in 'abc' and 3 not in [1, 2] and 'a b' in item }}", True),
        ("${{ not inputs.flag or inputs.n }}", 3),
        ("${{ 'yes' if inputs.n > 2 else 'no' }}", "yes"),
        ("${{ inputs.n is odd and inputs.n is not even and inputs.n is divisibleby 3 }}", True),
        ("${{ range(3) }}", [0, 1, 2]),
        ("${{ range(1, 9, 3) }}", [1, 4, 7]),
        ("${{ 0x10 + 0b11 + 1_000 }}", 1019),
        ("${{ 1e3 }}", 1000.0),
        (r"${{ 'a\n\x41\u00e9\'' }}", "a\nAé'"),
        # nothing but these delimiters; comments are text
        ("{{ x }} {# y #} # z ${ w } $${ v", "{{ x }} {# y #} # z ${ w } $${ v"),
        ("{{ x }} ${{ inputs.n }} {# ${{ inputs.n }} #}", "{{ x }} 3 {# 3 #}"),
        ("${{ '${{' }}", "${{"),
        ("a ${{ '{%' }} b", "a {% b"),
        ("{% raw %}${{ x }} {% for %}{% endraw %}!", "${{ x }} {% for %}!"),
        ("${{ '}}' }}x", "}}x"),
        # statements
        ("{% for f in steps.tree.output.files %}${{ f.path }};{% endfor %}", "a.py;b.py;"),
        ("{% for x in [] %}a{% else %}none{% endfor %}", "none"),
        ("{% for k, v in item | items %}${{ k }}=${{ v }},{% endfor %}", "path=c.py,a b=1,"),
        ("{% for k in item %}${{ k }},{% endfor %}", "path,a b,"),
        ("{% for a, (b, c) in [[1, [2, 3]]] %}${{ a + b + c }}{% endfor %}", "6"),
        (
            "{% for i in range(6) if i is odd %}${{ loop.index }}:${{ i }}/${{ loop.length }} {% endfor %}",
            "1:1/3 2:3/3 3:5/3 ",
        ),
        ("{% if inputs.n == 1 %}a{% elif inputs.n == 3 %}b{% else %}c{% endif %}", "b"),
        ("{% set a = 1 %}{% if true %}{% set a = 2 %}{% endif %}${{ a }}", "2"),
        ("{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}${{ a }}", "1"),
        ("{% set a, b = [1, 2] %}${{ b }}${{ a }}", "21"),
        ("{% set a %}x${{ inputs.n }}{% endset %}<${{ a }}>", "<x3>"),
        ("{% set a | upper | replace('X', 'y') %}x${{ inputs.n }}{% endset %}<${{ a }}>", "<y3>"),
        # the loop of a {% for %} hides the one of foreach, also in an inner loop's head only from there on
        ("${{ loop.length }}{% for i in [1] %}${{ loop.length }}{% endfor %}${{ loop.length }}", "515"),
        (
            "{% for i in [1, 2] %}{% for j in range(loop.index) %}${{ loop.length }}{% endfor %},{% endfor %}",
            "1,22,",
        ),
        (
            "{% for i in [1, 2, 3] %}${{ loop.previtem | d('-') }}${{ loop.nextitem | d('-') }} {% endfor %}",
            "-2 13 2- ",
        ),
        (
            "{% for i in 'ab' %}${{ [loop.first, loop.last, loop.revindex, loop.revindex0] }}{% endfor %}",
            "[true, false, 2, 1][false, true, 1, 0]",
        ),
        # trim_blocks, lstrip_blocks, keep_trailing_newline
        ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc\n"),
        ("  ${{ inputs.n }}\n", 3),
        ("  ${{ inputs.n }}\n.", "  3\n."),
        ("a  ${{- inputs.n -}}  \n b", "a3b"),
        ("a {%- if true -%} b {%- endif %} c", "ab c"),
        ("a\n {%+ if true +%}\nb{% endif %}", "a\n \nb"),
        # a null byte, other line ends and emoji are text like any other
        ("\x00\r\n${{ inputs.n }}\r\n😀", "\x00\r\n3\r\n😀"),
    ],
)
def test_a_template_gives_the_value_that_the_contract_says(text: str, value: Any) -> None:
    found = render(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ nope }}", 'there is no "nope" here'),
        ("${{ input.n }}", 'there is no "input" here; did you mean "inputs"?'),
        ("${{ inputs.pth }}", 'inputs has no "pth"; did you mean "path"?'),
        ("${{ steps.tree.output.zzz }}", 'steps.tree.output has no "zzz"; it has: files, root'),
        ("${{ steps.tree.output.fils }}", 'steps.tree.output has no "fils"; did you mean "files"?'),
        ("${{ steps.tree.output.fils.x.y }}", 'steps.tree.output has no "fils"'),
        ("${{ steps.tree.output.files[2] }}", "steps.tree.output.files has no [2]; its length is 2"),
        ("${{ steps.tree.output.files.path }}", 'steps.tree.output.files is a list and has no "path"'),
        ("${{ steps.soft.output.x }}", 'steps.soft.output is null and has no "x"'),
        ("${{ inputs.n.real }}", 'inputs.n is a number and has no "real"; values have no methods'),
        ("${{ 'x'.upper }}", 'the value is text and has no "upper"'),
        ("${{ item['x y'] }}", 'item has no "x y"'),
        (
            "${{ env.NOPE }}",
            "the environment variable NOPE is not set; set it, or write env.NOPE | default(...)",
        ),
        ("${{ steps.skip.output }}", "steps.skip was skipped and has no output; give one with default(...)"),
        ("${{ steps.skip.output == 1 }}", "steps.skip was skipped"),
        ("${{ steps.skip.output != 1 }}", "steps.skip was skipped"),
        ("${{ steps.skip.output or 1 }}", "steps.skip was skipped"),
        ("${{ not steps.skip.output }}", "steps.skip was skipped"),
        ("${{ [steps.skip.output] }}", "steps.skip was skipped"),
        ("${{ {'a': steps.skip.output} }}", "steps.skip was skipped"),
        ("${{ steps.skip.output | upper | default('x') }}", "steps.skip was skipped"),
        ("${{ steps.skip.output is none }}", "steps.skip was skipped"),
        ("${{ 1 if steps.skip.output else 2 }}", "steps.skip was skipped"),
        ("{% for x in steps.skip.output %}{% endfor %}", "steps.skip was skipped"),
        ("{% if steps.skip.output %}{% endif %}", "steps.skip was skipped"),
        ("{% set x = steps.skip.output %}", "steps.skip was skipped"),
        ("${{ inputs.path[inputs.nope] | default(1) }}", 'inputs has no "nope"'),
        ("${{ 'a' if false }}", '"… if …" is false and has no "else"'),
        ("${{ [] | first }}", 'filter "first" found nothing in an empty list'),
        ("${{ 1 / 0 }}", "division by zero"),
        ("${{ 1 + 'a' }}", '"+" cannot add a number and text; join as text with "~"'),
        ("${{ 'a' - 1 }}", '"-" takes numbers, not text and a number'),
        ("${{ '%s' % 1 }}", '"%" takes numbers'),
        ("${{ 'a' < 1 }}", '"<" cannot compare text with a number'),
        ("${{ 1 in 2 }}", '"in" needs a list, a mapping or text'),
        ("${{ 1 in 'a1' }}", '"in" looks for text in text'),
        ("${{ inputs.n[0:1] }}", "cannot slice a number"),
        ("${{ 'abc'[::0] }}", "a slice takes integers, and a step"),
        ("${{ range('a') }}", "range takes integers"),
        ("${{ range(100001) }}", "range gives at most 100,000 integers"),
        ("${{ 9223372036854775807 + 1 }}", "an integer would be beyond 64 bits"),
        ("${{ 2 ** 64 }}", "an integer would be beyond 64 bits"),
        ("${{ (-8) ** 0.5 }}", "a number would not be real and finite"),
        ("${{ 1e308 * 10 }}", "a number would not be real and finite"),
        ("${{ {1: 2} }}", "the keys of a mapping are text, not a number"),
        ("{% for x in 5 %}{% endfor %}", "cannot go over a number: a list or a mapping is needed"),
        ("{% for a, b in [1] %}{% endfor %}", "cannot take a number apart into 2 names"),
        ("{% for a, b in [[1, 2, 3]] %}{% endfor %}", "cannot take a list of 3 apart into 2 names"),
        ("{% if false %}{% set a = 1 %}{% endif %}${{ a }}", 'there is no "a" here'),
        ("${{ inputs | upper }}", 'filter "upper" takes text, not a mapping'),
        ("${{ inputs.n | length }}", 'filter "length" takes text, a list or a mapping, not a number'),
        ("${{ 'a' is divisibleby 2 }}", 'test "divisibleby" takes an integer, not text'),
        ("${{ [1, 'a'] | sort }}", 'filter "sort" cannot put these in order: a number and text'),
    ],
)
def test_a_wrong_value_is_an_evaluation_error_that_says_where_it_ends(text: str, message: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        render(text)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${{ a", '"${{" is never closed; close it with "}}"; in YAML an unquoted " #" starts a comment'),
        ("x {% if a", '"{%" is never closed; close it with "%}"'),
        ("${{ (a }}", '"(" is never closed'),
        ("${{ a) }}", 'unexpected ")"'),
        ("${{ [a) }}", '"[" is never closed'),
        ("${{ 'a }}", "the quote ' is never closed"),
        ("${{ }}", '"${{ }}" holds no expression'),
        ("${{ a b }}", 'cannot read ${{ a b }}: expected "}}", not "b"'),
        ("${{ a + }}", "cannot read ${{ a + }}"),
        ("${{ a.'b' }}", "cannot read ${{ a.'b' }}: expected name or number"),
        ("${{ a && b }}", 'unexpected "&&"; write "and"'),
        ("${{ a || b }}", 'unexpected "||"; write "or"'),
        ("${{ !a }}", "unexpected character '!'; write \"not\""),
        ("${{ a ? b : c }}", "unexpected character '?'; write \"a if condition else b\""),
        ("${{ ${{ a }} }}", "unexpected character '$'; names stand bare here"),
        ("{% for x in y %}", '"{% for %}" is never closed; end it with "{% endfor %}"'),
        ("{% for x in y %}{% else %}", '"{% for %}" is never closed'),
        ("{% set x %}", '"{% set %}" is never closed'),
        ("{% raw %}", '"{% raw %}" is never closed'),
        ("{% endfor %}", '"{% endfor %}" ends nothing'),
        ("{% if a %}{% endfor %}", '"{% endfor %}" ends nothing; first end "{% if %}"'),
        ("{% else %}", '"{% else %}" belongs to no open "{% if %}"'),
        ("{% if a %}{% else %}{% else %}{% endif %}", '"{% else %}" belongs to no open "{% if %}"'),
        ("{% fro x in y %}", 'there is no statement "{% fro %}"; did you mean "for"?'),
        ("{% include 'x' %}", 'there is no statement "{% include %}"; allowed: for, if, set, raw'),
        ("{% for x in y recursive %}{% endfor %}", "a loop cannot be recursive"),
        ("${{ a | uper }}", 'there is no filter "uper"; did you mean "upper"?'),
        ("${{ a is deffined }}", 'there is no test "deffined"; did you mean "defined"?'),
        ("${{ a | upper(1) }}", 'filter "upper" takes no arguments'),
        ("${{ a | replace('x') }}", 'filter "replace" takes old, new, count=…'),
        ("${{ a | join(by=1) }}", 'filter "join" takes d=…, attribute=…'),
        ("${{ a | map }}", 'filter "map" takes a literal name first'),
        ("${{ a | map(x) }}", 'filter "map" takes a literal name first'),
        ("${{ a | map('uper') }}", 'there is no filter "uper"'),
        ("${{ a | select('od') }}", 'there is no test "od"; did you mean "odd"?'),
        ("${{ a | selectattr('x', 'od') }}", 'there is no test "od"'),
        ("${{ a | regex_search('(') }}", 'filter "regex_search" cannot read the pattern "("'),
        ("${{ a | upper(*b) }}", '"*" and "**" arguments are not allowed'),
        ("${{ a.upper() }}", "values have no methods to call; write value | upper"),
        ("${{ a.b() }}", "values have no methods to call; use a filter"),
        ("${{ len(a) }}", 'there is no function "len"'),
        ("${{ length(a) }}", 'there is no function "length"; write value | length'),
        ("${{ range }}", '"range" is a function'),
        ("${{ range() }}", "range takes a stop"),
        ("${{ steps }}", '"steps" stands only before the id of a step'),
        ("${{ steps[inputs.x] }}", '"steps" stands only before the id of a step'),
        ("${{ steps | length }}", '"steps" stands only before the id of a step'),
        ("{% for s in steps %}{% endfor %}", '"steps" stands only before the id of a step'),
        ("{% set steps = 1 %}", '"steps" is a name of the language and cannot be set'),
        ("{% set a, inputs = b %}", '"inputs" is a name of the language'),
        ("{% for item in a %}{% endfor %}", '"item" is a name of the language'),
        ("{% set loop %}{% endset %}", '"loop" is a name of the language'),
        ("{% set range = 1 %}", '"range" is a name of the language'),
        ("{% set a.b = 1 %}", "only plain names can be set"),
        ("{% set 1 = 1 %}", "cannot read {% set 1 = 1 %}"),
        ("${{ 9223372036854775808 }}", '"9223372036854775808" is too large a number'),
        ("${{ 012 }}", '"012" is not a number'),
        ("${{ 1e999 }}", '"1e999" is too large a number'),
        (r"${{ '\ud800' }}", r'"\ud800" is not a character'),
        (r"${{ '\N{BULLET}' }}", r'"\N" is not a character'),
    ],
)
def test_a_wrong_template_is_refused_before_it_runs(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse(text)

    assert str(caught.value).startswith(message)


def test_a_bare_expression_and_a_whole_template_mean_the_same() -> None:
    scope = {"output": 4}

    assert parse_expression("output > 3").render(scope) is True
    assert parse_expression(" ${{ output > 3 }} ").render(scope) is True
    assert parse_expression("output").render(scope) == 4
    assert parse_expression("'${{' ~ output").render(scope) == "${{4"


@pytest.mark.parametrize(
    "text", ["${{ a }} > 3", "x ${{ a }}", "{% if a %}{% endif %}", "", "  ", "a > ${{ b }}", "a b", "a }}"]
)
def test_more_or_less_than_one_expression_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        parse_expression(text)


def test_nothing_but_white_space_may_stand_around_a_whole_expression() -> None:
    assert parse("  ${{ a }}\n").whole
    assert not parse("${{ a }}${{ b }}").whole
    assert not parse("${{ a }}.").whole
    assert not parse("{% if true %}${{ a }}{% endif %}").whole
    assert not parse("plain").whole


def test_equal_texts_are_compiled_once() -> None:
    assert parse("${{ inputs.once }}") is parse("${{ inputs.once }}")
