"""A text becomes plain values with places, or problems with places; nothing else ever comes out."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.lang import document as module
from gptoss_flow.lang.document import Document, parse_document, read_document


def read(text: str | bytes) -> Any:
    return parse_document(text, "f.yaml").data


def refused(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(Invalid) as caught:
        parse_document(text, "f.yaml")
    return caught.value.problems


def said(text: str | bytes) -> str:
    (problem,) = refused(text)
    return str(problem)


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers: libyaml's, and the one that is used where PyYAML was built without it."""
    if request.param == "python":
        monkeypatch.setattr(module, "_Parser", yaml.SafeLoader)
    return str(request.param)


# --- values ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"), ("off", "off"), ("no", "no"), ("yes", "yes"), ("y", "y"), ("NO", "NO"), ("nO", "nO"),
        ("true", True), ("True", True), ("TRUE", True), ("tRue", "tRue"), ("false", False),
        ("null", None), ("Null", None), ("~", None), ("", None), ("nULL", "nULL"), ("nil", "nil"),
        ("12:30", "12:30"), ("12:30:45", "12:30:45"), ("190:20:30.15", "190:20:30.15"),
        ("012", "012"), ("-012", "-012"), ("00", "00"), ("01.5", "01.5"), ("1_000", "1_000"), ("0b1", "0b1"),
        ("0", 0), ("-0", 0), ("+12", 12), ("-7", -7), ("0x1F", 31), ("0o17", 15), ("-0x1F", "-0x1F"),
        ("9223372036854775807", 2**63 - 1), ("-9223372036854775808", -(2**63)),
        ("1.5", 1.5), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), ("-1.5E-3", -0.0015), ("1e-999", 0.0),
        ("1.2.3", "1.2.3"), (".", "."), ("-", [None]), ("+", "+"), ("e3", "e3"), ("1e", "1e"), ("٣", "٣"),
        ("2001-12-14", "2001-12-14"), ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("=", "="), ("inf", "inf"), ("nan", "nan"), ("NaN", "NaN"), ("'1'", "1"), ('"true"', "true"), ("'~'", "~"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_rules_of_yaml_1_2(scalar: str, value: Any, parser: str) -> None:
    got = read(f"- {scalar}\n")[0]
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize("scalar", [".nan", ".NaN", ".inf", "-.inf", "+.INF", "1e999", "-1e400"])
def test_numbers_that_json_does_not_have_are_refused(scalar: str) -> None:
    assert str(refused(f"a:\n  b: {scalar}\n")[0].mark) == "f.yaml:2:6"


@pytest.mark.parametrize(
    "scalar",
    [
        "9223372036854775808",
        "-9223372036854775809",
        "0x8000000000000000",
        "0o1" + "0" * 22,
        "9" * 5_000,
        "1" * 10**6,
    ],
)
def test_integers_that_do_not_fit_in_64_bits_are_refused(scalar: str) -> None:
    (problem,) = refused(f"a: {scalar}\n")
    assert str(problem.mark) == "f.yaml:1:4"
    assert len(str(problem)) < 300


def test_a_number_of_a_million_digits_costs_no_time() -> None:
    start = time.process_time()
    refused("a: 0." + "1" * 10**6)
    refused("a: 0x" + "1" * 10**6)
    read("a: " + "1" * 10**6 + "x")
    assert time.process_time() - start < 1


def test_quoting_and_blocks_give_text() -> None:
    text = "a: 'it''s'\nb: \"tab\\there\"\nc: |\n  x\n  y\nd: >-\n  x\n  y\ne: plain\n  goes on\n"
    assert read(text) == {"a": "it's", "b": "tab\there", "c": "x\ny\n", "d": "x y", "e": "plain goes on"}


def test_a_control_that_is_visibly_escaped_is_text_but_never_nul() -> None:
    assert read('a: "\\e[0m \\u202e"') == {"a": "\x1b[0m \u202e"}
    assert "NUL" in said('a: "\\0"')
    assert "NUL" in said('"\\0": a')


@pytest.mark.parametrize(("text", "value"), [("", None), ("# nothing\n", None), ("--- ~\n", None), ("x", "x")])
def test_a_document_need_not_be_a_mapping(text: str, value: Any) -> None:
    document = parse_document(text, "f.yaml")
    assert document.data == value
    assert document.marks.value(()).line == 1
    assert str(document.marks.key(("a", 0))).startswith("f.yaml:1:")


def test_a_byte_order_mark_is_skipped_and_counts_no_column() -> None:
    document = parse_document(b"\xef\xbb\xbfa: b\r\nc: d\r\n", "f.yaml")
    assert document.data == {"a": "b", "c": "d"}
    assert str(document.marks.value(("a",))) == "f.yaml:1:4"
    assert str(document.marks.key(("c",))) == "f.yaml:2:1"


# --- keys ------------------------------------------------------------------------------------------------


def test_duplicate_keys_are_all_reported_with_both_lines(parser: str) -> None:
    problems = refused("a: 1\nb: {x: 1, x: 2}\n'a': 3\nc:\n  d: 1\n  d: 2\na: 4\n")
    assert [(p.mark.line, p.mark.column) for p in problems if p.mark] == [(2, 11), (3, 1), (6, 3), (7, 1)]
    assert "line 1" in str(problems[1])
    assert '"d"' in str(problems[2])
    assert "line 5" in str(problems[2])


@pytest.mark.parametrize(
    ("key", "what"),
    [("1", "a number"), ("true", "a boolean"), ("null", "null"), ("1.5", "a number"), (".inf", "")],
)
def test_a_key_that_is_not_text_is_refused(key: str, what: str) -> None:
    assert said(f"a:\n  {key}: x\n").startswith(f"f.yaml:2:3: the key {key} is {what}")


def test_on_is_a_text_key_and_so_is_a_quoted_number() -> None:
    assert read("on: 1\n'1': 2\n012: 3\n") == {"on": 1, "1": 2, "012": 3}


@pytest.mark.parametrize("text", ["? [a]\n: b", "? {a: b}\n: c", "{[a]: b}", "&x [a]: b", "a: &x [b]\n*x : c"])
def test_a_key_cannot_be_a_collection(text: str) -> None:
    assert "text" in said(text)


# --- anchors ---------------------------------------------------------------------------------------------


def test_an_alias_is_a_copy_with_its_own_place() -> None:
    document = parse_document("a: &x {k: [1, 2]}\nb: *x\n", "f.yaml")
    assert document.data == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}}
    document.data["a"]["k"].append(3)
    assert document.data["b"]["k"] == [1, 2]
    assert str(document.marks.value(("b",))) == "f.yaml:2:4"
    assert str(document.marks.value(("b", "k", 1))) == "f.yaml:1:15"
    assert str(document.marks.value(("a",))) == "f.yaml:1:7"


def test_merging_gives_way_to_keys_that_are_written_out() -> None:
    document = parse_document(
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\none:\n  a: 9\n  <<: *base\n"
        "two:\n  <<: [*more, *base]\n  d: 5\nthree: {<<: {x: 1}, y: 2}\nfour: {'<<': 1}\n",
        "f.yaml",
    )
    assert document.data["one"] == {"a": 9, "b": 2}
    assert document.data["two"] == {"a": 1, "b": 3, "c": 4, "d": 5}
    assert document.data["three"] == {"x": 1, "y": 2}
    assert document.data["four"] == {"<<": 1}
    assert str(document.marks.key(("one", "a"))) == "f.yaml:4:3"
    assert str(document.marks.key(("one", "b"))) == "f.yaml:1:20"
    assert str(document.marks.value(("two", "b"))) == "f.yaml:2:17"


@pytest.mark.parametrize("text", ["<<: 1", "<<: [1]", "<<:", "a: &a [x]\nb: {<<: *a}"])
def test_only_mappings_can_be_merged(text: str) -> None:
    assert "<<" in said(text)


def test_merging_twice_in_one_mapping_is_a_duplicate_key() -> None:
    assert "line 3" in said("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n")


def test_an_unknown_or_recursive_alias_is_refused(parser: str) -> None:
    assert said("a: *x").startswith("f.yaml:1:4")
    assert "itself" in said("a: &x [*x]")
    assert "itself" in said("a: &x {b: {c: *x}}")
    assert "itself" in said("&x a: &y [&z {b: *y}]")


BOMBS = {
    "billion laughs": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 5)),
    "merge bomb": "a: &a {" + ", ".join(f"k{i}: {i}" for i in range(9_000)) + "}\n"
    + "".join(f"m{i}: {{<<: *a}}\n" for i in range(40)),
    "quadratic": "a: &a [" + "x, " * 9_000 + "x]\nb: [" + ", ".join(["*a"] * 49) + "]\n",
    "many aliases": "a: &a x\nb: [" + ", ".join(["*a"] * 51) + "]\n",
    "deep by aliases": "a0: &a0 " + "[" * 30 + "]" * 30 + "\n"
    + "".join(f"a{i}: &a{i} {'[' * 30}*a{i - 1}{']' * 30}\n" for i in range(1, 4)),
}  # fmt: skip


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_aliases_are_bounded_in_number_size_and_depth(text: str) -> None:
    start = time.process_time()
    (problem,) = refused(text)
    assert time.process_time() - start < 2
    assert problem.mark


# --- depth and size --------------------------------------------------------------------------------------


def test_depth_64_is_read_and_depth_65_refused(parser: str) -> None:
    assert read("[" * 64 + "]" * 64) is not None
    assert said("[" * 65 + "]" * 65).startswith("f.yaml:1:65: more than 64")
    assert read("- " * 64 + "x") is not None
    assert "64" in said("- " * 65 + "x")


HOSTILE = [
    "[",
    "{",
    "- ",
    "? ",
    "{a: ",
    "[a: ",
    "[? ",
    "[\n",
    "- [",
    "&a [",
    "!t [",
    "{? ",
    "a: {",
    "'",
    '"\\\n',
    "*a ",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_a_hundred_thousand_openings_end_no_process(unit: str) -> None:
    code = (
        "import sys, resource\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "from gptoss_flow.errors import Invalid\n"
        "from gptoss_flow.lang.document import parse_document\n"
        "for tail in ('', 'x', ']' * 100_000):\n"
        "    try:\n"
        "        parse_document(sys.argv[1] * 100_000 + tail, 'f.yaml')\n"
        "    except Invalid as error:\n"
        "        assert error.problems[0].mark\n"
    )
    # -u: what the child says must not be lost with it. A negative code is a signal.
    done = subprocess.run([sys.executable, "-c", code, unit], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "text",
    [
        "%TAG !a! x\n" * 100_000 + "--- a",
        "--- a\n" * 100_000,
        "- &a x\n" * 100_000,
        "a\n" * 100_000,
        "- *a\n" * 100_000,
        "x: |\n" * 50_000,
        "#\n" * 1_000_000,
        "\n" * 4_000_000,
        "a: " + "b " * 1_000_000,
        "? a\n" * 100_000,
    ],
    ids=[
        "directives",
        "documents",
        "anchors",
        "lines",
        "aliases",
        "blocks",
        "comments",
        "newlines",
        "long",
        "keys",
    ],
)
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    with contextlib.suppress(Invalid):
        parse_document(text, "f.yaml")
    assert time.process_time() - start < 4


def test_the_number_of_values_is_bounded() -> None:
    assert "500,000" in said("- x\n" * 600_000)


def test_a_text_above_4_mib_is_refused_as_text_and_as_bytes() -> None:
    assert "4 MiB" in said("#" * (4 * 2**20 + 1))
    assert "4 MiB" in said("#" + "é" * (2 * 2**20))
    assert "4 MiB" in said(b"#" * (4 * 2**20 + 1))
    assert read("#" * 4 * 2**20) is None


def test_ten_thousand_steps_are_read_with_their_marks() -> None:
    text = "steps:\n" + "".join(
        f"  s{i}:\n    prompt:\n      user: Say ${{{{ steps.s{i - 1}.output }}}} {'again ' * 12}\n"
        f"      params: {{max_tokens: {i}, temperature: 0.5}}\n"
        for i in range(10_000)
    )
    assert len(text) > 1.4e6
    start = time.process_time()
    document = parse_document(text, "f.yaml")
    read_s = time.process_time() - start
    assert len(document.data["steps"]) == 10_000
    assert document.marks.tag(("steps", "s9999", "prompt", "user"), 0).line == 2 + 4 * 9_999 + 2
    # Generous, for a busy machine: 0.3 to 0.45 s were measured; with the collector on it is twice as much.
    assert read_s < 2


def test_the_collector_is_left_as_it_was() -> None:
    parse_document("a: 1", "f.yaml")
    assert gc.isenabled()
    refused("a: [")
    assert gc.isenabled()


# --- characters ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "char",
    ["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f", "\x80", "\x85", "\x9b", "\u2028", "\u2029", "\u202e",
     "\u2066", "\ufeff", "\ufffe", "\ud800", "\udfff"],
)  # fmt: skip
def test_characters_that_hide_or_break_lines_are_refused_with_their_place(char: str) -> None:
    (problem,) = refused(f"a: b\nc: é{char}\n")
    assert str(problem.mark) == "f.yaml:2:5"
    assert str(problem).isprintable()


def test_a_carriage_return_is_part_of_a_line_end_or_refused() -> None:
    assert read("a: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}
    assert said("a: 1\rb: 2").startswith("f.yaml:1:5: a carriage return")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"ok: 1\nno: \xc3(", "f.yaml:2:5: the byte 0xc3"),
        (b"\xef\xbb\xbf\xff", "f.yaml:1:1: the byte 0xff"),
        ("a: b".encode("utf-16"), "f.yaml:1:1: the file is UTF-16"),
        ("a: b".encode("utf-16-le"), "f.yaml:1:2: a NUL"),
        (b"\xed\xa0\x80", "f.yaml:1:1: the byte 0xed"),
    ],
)
def test_bytes_that_are_not_utf_8_are_refused_with_their_place(content: bytes, start: str) -> None:
    assert said(content).startswith(start)


# --- what authors do wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a:\n\tb: 1", "f.yaml:2:1: a tab cannot indent YAML; use spaces"),
        ("a:\n  b: 1\n\tc: 2", "f.yaml:3:1: a tab cannot indent YAML"),
        ("a: {b: ${{ x }}}", "f.yaml:1:8: inside {…} or […] an expression must be quoted"),
        ("a: [x, ${{ y }}]", "f.yaml:1:8: inside {…} or […] an expression must be quoted"),
        ("a:\n  b: x ${{ y ? z: 1 }}", 'f.yaml:2:8: an expression that holds ": " must be quoted'),
        ('- ${{ {"a": 1} }}', 'f.yaml:1:3: an expression that holds ": " must be quoted'),
        ("a: {{ x }}", "f.yaml:1:4: a value that starts with {{ must be quoted"),
        ("a: {% if x %}", "f.yaml:1:4: a value that starts with {% must be quoted"),
        ("a: b: c", 'f.yaml:1:5: a text that holds ": " must be quoted'),
        ("a: @x", 'f.yaml:1:4: a value cannot start with "@"'),
        ("a: `x`", 'f.yaml:1:4: a value cannot start with "`"'),
        ("a: [1, 2\nb: 3\n", 'f.yaml:2:2: the "[" of line 1 is not closed'),
        ("a: {b: 1\nc: 3\n", 'f.yaml:2:2: the "{" of line 1 is not closed'),
        ('a: "x\nb: 3\n', "f.yaml:1:4: the quote that opens here is never closed"),
        ("a:\n  b: 1\n c: 2\n", "f.yaml:3:2: the indentation of this line fits no line above it"),
        ("a: 1\nfoo\nb: 2\n", 'f.yaml:2:1: this line is no "key: value"'),
        ("a:1\nb: 2\n", 'f.yaml:1:2: a ":" after a key needs a space'),
        ('a: "x" y', "f.yaml:1:8: text goes on after the closing quote"),
        ('a: "\\q"', "f.yaml:1:5: in double quotes a backslash"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: YAML tags"),
        ("a: !include x", "f.yaml:1:4: YAML tags"),
        ("a: !e!x 1", "f.yaml:1:4: YAML tags"),
        ("!!map {a: b}", "f.yaml:1:1: YAML tags"),
        ("%TAG ! x\n--- a", "f.yaml:1:1: YAML tags"),
        ("a: 1\n--- \nb: 2", "f.yaml:2:1: a second document"),
    ],
)
def test_the_usual_mistakes_are_named_at_their_place(text: str, start: str) -> None:
    problem = said(text)
    assert problem.startswith(start)
    assert ";" in problem  # what is allowed, or what to do


@pytest.mark.parametrize(
    "text",
    [
        "a:\n\tb: 1",
        "a: {b: ${{ x }}}",
        "a: ${{ b: c }}",
        "a: b: c",
        "a: @x",
        "a: [1\nb: 3\n",
        'a: "x\nb: 3\n',
        "a: *",
        "a:\n  b: 1\n c: 2\n",
        "a: 1\nfoo\nb: 2\n",
        'a: "\\q"',
        "a: !e!x 1",
        "- a\nb: 1",
        "a: |x\n y",
    ],
)
def test_the_pure_parser_leads_to_the_same_words_at_the_same_line(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours,) = refused(text)
    monkeypatch.setattr(module, "_Parser", yaml.SafeLoader)
    (pure,) = refused(text)
    assert ours.mark and pure.mark
    assert pure.mark.line == ours.mark.line
    assert "parser says" not in str(pure)
    assert "parser says" not in str(ours)


def test_an_expression_cut_by_a_comment_is_named() -> None:
    problem = said("a: 1\nb: ${{ x | default('#') #y }}\n")
    assert problem.startswith('f.yaml:2:4: this "${{" is not closed')
    assert '" #"' in problem
    assert read("b: ${{ x }} # fine\nc: '${{ x #y }}'\n") == {"b": "${{ x }}", "c": "${{ x #y }}"}


def test_a_syntax_error_is_one_error_after_what_was_found_before_it() -> None:
    assert [p.mark.line for p in refused("a: 1\na: 2\n1: x\nb: [\n") if p.mark] == [2, 3, 5]


def test_a_thousand_mistakes_are_not_all_told() -> None:
    problems = refused("a: 1\n" * 1_000)
    assert len(problems) == module.MAX_PROBLEMS + 1


# --- places ----------------------------------------------------------------------------------------------

SAMPLE = """\
# a comment
steps:
  one:
    prompt:
      user: "Say ${{ a }} and ${{ b }}"
      list: [x, {y: 'z'}]
  two:
    - |
      text {% for x in y %}
      ${{ x }}
    - ${{ whole }}
    - " ${{ whole }} "
    - "\\x24{{ hidden }} and ${{ c }}"
    - &anchor ${{ a }} and ${{ b }}
    -
"""


@pytest.fixture
def sample() -> Document:
    return parse_document(SAMPLE, "s.yaml")


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), "2:1", "2:1"),
        (("steps",), "2:1", "3:3"),
        (("steps", "one"), "3:3", "4:5"),
        (("steps", "one", "prompt", "user"), "5:7", "5:13"),
        (("steps", "one", "prompt", "list"), "6:7", "6:13"),
        (("steps", "one", "prompt", "list", 1), "6:17", "6:17"),
        (("steps", "one", "prompt", "list", 1, "y"), "6:18", "6:21"),
        (("steps", "two", 0), "8:7", "8:7"),
        (("steps", "two", 4), "14:15", "14:15"),
        (("steps", "one", "nothing", "here"), "4:5", "4:5"),
        (("steps", "two", 9), "8:5", "8:5"),
        (("steps", "two", "x"), "8:5", "8:5"),
    ],
)
def test_keys_and_values_have_places(sample: Document, path: tuple[str | int, ...], key: str, value: str) -> None:
    assert str(sample.marks.key(path)) == f"s.yaml:{key}"
    assert str(sample.marks.value(path)) == f"s.yaml:{value}"


def test_has_says_whether_a_path_exists(sample: Document) -> None:
    assert sample.marks.has(())
    assert sample.marks.has(("steps", "two", 4))
    assert not sample.marks.has(("steps", "two", 6))
    assert not sample.marks.has(("steps", "two", -1))
    assert not sample.marks.has(("steps", "one", "prompt", "user", 0))
    assert not sample.marks.has(("step",))


@pytest.mark.parametrize(
    ("path", "occurrence", "place"),
    [
        (("steps", "one", "prompt", "user"), 0, "5:18"),
        (("steps", "one", "prompt", "user"), 1, "5:31"),
        (("steps", "one", "prompt", "user"), 2, "5:13"),
        (("steps", "two", 0), 0, "9:12"),
        (("steps", "two", 0), 1, "10:7"),
        (("steps", "two", 1), 0, "11:7"),
        (("steps", "two", 2), 0, "12:7"),
        (("steps", "two", 3), 1, "13:7"),
        (("steps", "two", 4), 1, "14:28"),
        (("steps", "two"), 0, "8:5"),
        (("nothing",), 0, "2:1"),
    ],
)
def test_tags_have_places(sample: Document, path: tuple[str | int, ...], occurrence: int, place: str) -> None:
    assert str(sample.marks.tag(path, occurrence)) == f"s.yaml:{place}"


def test_a_tag_in_the_comment_of_a_block_is_none() -> None:
    marks = parse_document("a: | # ${{ no }}\n  x\n  ${{ yes }} ${{ too }}\n", "f.yaml").marks
    assert str(marks.tag(("a",), 0)) == "f.yaml:3:3"
    assert str(marks.tag(("a",), 1)) == "f.yaml:3:14"


# --- files -----------------------------------------------------------------------------------------------


def test_a_file_is_read_and_named_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "flow.yaml"
    path.write_text("a: 1\n")
    assert read_document(path).source == str(path)
    assert str(read_document(path, "flow.yaml").marks.value(("a",))) == "flow.yaml:1:4"


def test_a_linked_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "flow.yaml").write_text("a: 1\n")
    (tmp_path / "link.yaml").symlink_to("flow.yaml")
    assert read_document(tmp_path / "link.yaml").data == {"a": 1}


def unreadable(path: Path) -> str:
    with pytest.raises(Invalid) as caught:
        read_document(path, "shown.yaml")
    (problem,) = caught.value.problems
    return str(problem)


def test_what_is_no_file_is_refused_without_hanging(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    assert 'no file "shown.yaml"' in unreadable(tmp_path / "missing.yaml")
    assert "a directory" in unreadable(tmp_path)
    assert "not a regular file" in unreadable(tmp_path / "fifo")
    assert "not a regular file" in unreadable(Path("/dev/zero"))
    assert "shown.yaml" in unreadable(tmp_path / "loop")
    assert "shown.yaml" in unreadable(tmp_path / ("x" * 300))
    assert "shown.yaml" in unreadable(tmp_path / "nul\0")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(2**30)
    assert "4 MiB" in unreadable(path)


def test_refusals_leak_no_descriptor(tmp_path: Path) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    for _ in range(10):
        unreadable(tmp_path)
        unreadable(Path("/dev/zero"))
    assert len(list(Path("/dev/fd").iterdir())) == before


# --- whatever the text -----------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        *"abc:-?[]{},#&*!|>'\"%@`\n\t \r",
        ": ",
        "- ",
        "\n  ",
        "\n- ",
        "<<: ",
        "*a",
        "&a ",
        "---\n",
        "...\n",
        "${{",
        "}}",
        "{%",
        "!!",
        "\\x",
        "1",
        "true",
        "~",
        "0x",
        "é",
        "\u2028",
        "\ufeff",
        "\x00",
        "\x85",
        "%TAG ! x\n",
        "key: ",
    ]
)


@settings(max_examples=600, deadline=None)
@given(st.one_of(st.binary(), st.text(st.characters()), st.lists(PIECES, max_size=40).map("".join)))
def test_any_text_is_a_document_or_refused(text: str | bytes) -> None:
    try:
        document = parse_document(text, "f.yaml")
    except Invalid as error:
        assert error.problems
        for problem in error.problems:
            assert problem.mark
            assert problem.mark.line >= 1
            assert problem.mark.column >= 1
            assert str(problem).isprintable()
        assert [p.mark for p in error.problems] == sorted(p.mark for p in error.problems if p.mark)
    else:
        json.dumps(document.data, allow_nan=False)


WORDS = st.text("abcxyzé🙂", min_size=1, max_size=5)
SCALARS = st.one_of(WORDS, st.integers(-(10**6), 10**6), st.booleans(), st.none())


@st.composite
def written(draw: st.DrawFn, depth: int = 0) -> tuple[str, Any]:
    """A value as YAML in one line (flow style), each scalar unique by a number, and the value."""
    kind = draw(st.integers(0, 2 if depth < 3 else 0))
    if kind == 0:
        value = draw(SCALARS)
        return (f'"{value}"' if isinstance(value, str) else json.dumps(value)), value
    items = draw(st.lists(written(depth + 1), max_size=4))
    space = draw(st.sampled_from(["", " ", "\n ", "  # c\n  "]))
    if kind == 1:
        return "[" + ",".join(space + text for text, _ in items) + "]", [value for _, value in items]
    keyed = {f"k{i}": item for i, item in enumerate(items)}
    return (
        "{" + ",".join(f"{space}{key}: {text}" for key, (text, _) in keyed.items()) + "}",
        {key: value for key, (_, value) in keyed.items()},
    )


@settings(max_examples=300, deadline=None)
@given(written())
def test_every_value_stands_where_its_mark_says(case: tuple[str, Any]) -> None:
    text, expected = case
    document = parse_document(text, "f.yaml")
    assert document.data == expected
    lines = text.split("\n")

    def rest(mark: Any) -> str:
        return "\n".join([lines[mark.line - 1][mark.column - 1 :], *lines[mark.line :]])

    def check(value: Any, path: tuple[str | int, ...]) -> None:
        assert document.marks.has(path)
        here = rest(document.marks.value(path))
        if isinstance(value, dict):
            assert here.startswith("{")
            for key, item in value.items():
                assert rest(document.marks.key((*path, key))).startswith(f"{key}: ")
                check(item, (*path, key))
        elif isinstance(value, list):
            assert here.startswith("[")
            for index, item in enumerate(value):
                check(item, (*path, index))
        else:
            assert here.startswith(f'"{value}"' if isinstance(value, str) else json.dumps(value))

    check(expected, ())


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3))
)
def test_block_style_gives_back_what_was_written(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=False)
    again = parse_document(text, "f.yaml").data
    # PyYAML writes by YAML 1.1: what is quoted there is text here too.
    assert again == value


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["${{ a }}", "{% b %}", "text ", "é🙂 ", "\n", "  "]), min_size=1, max_size=8))
def test_every_tag_of_a_block_is_found(parts: list[str]) -> None:
    body = "".join(parts)
    lines = ["a: |2", *("  " + line for line in f"x{body}".split("\n"))]
    document = parse_document("\n".join(lines) + "\n", "f.yaml")
    places = [
        (row, column)
        for row, line in enumerate(lines[1:], 2)
        for column in range(1, len(line))
        if line[column - 1 :].startswith(("${{", "{%"))
    ]
    for occurrence, place in enumerate(places):
        mark = document.marks.tag(("a",), occurrence)
        assert (mark.line, mark.column) == place
