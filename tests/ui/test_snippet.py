"""A problem is drawn with its line: the first line is for programs, the rest for eyes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import Mark, Problem
from gptoss_flow.ui.snippet import WIDTH, render_problem


def problem(line: int, column: int, source: str = "flows/a.yaml") -> Problem:
    return Problem(Mark(source, line, column), 'unknown key "promt"', 'did you mean "prompt"?')


def caret_of(drawn: str) -> str:
    """The character above the caret."""
    *_, line, caret = drawn.split("\n")
    return line[caret.index("^")]


def test_the_line_and_a_caret_stand_under_the_message() -> None:
    assert render_problem(problem(2, 3), "a:\n  promt: x\nb: 1\n", color=False).split("\n") == [
        'flows/a.yaml:2:3: unknown key "promt"; did you mean "prompt"?',
        "   |",
        " 2 |   promt: x",
        "   |   ^",
    ]


def test_without_a_place_or_a_text_the_message_is_all() -> None:
    assert render_problem(Problem(None, "no file"), "text", color=False) == "no file"
    assert render_problem(problem(9, 1), "one line", color=False) == str(problem(9, 1))
    assert render_problem(problem(1, 1, "missing.yaml"), None, color=False) == str(problem(1, 1, "missing.yaml"))


def test_without_a_text_the_file_is_read_if_it_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffé: x\r\n".encode())
    drawn = render_problem(problem(1, 4, str(path)), None, color=False)
    assert drawn.split("\n")[2] == " 1 | é: x"
    assert caret_of(drawn) == "x"
    for other in (tmp_path, Path("/dev/zero"), tmp_path / "nul\0"):
        assert "\n" not in render_problem(problem(1, 1, str(other)), None, color=False)


def test_colour_surrounds_and_changes_no_text() -> None:
    plain = render_problem(problem(1, 1), "promt: x", color=False)
    coloured = render_problem(problem(1, 1), "promt: x", color=True)
    assert coloured.startswith("\x1b[")
    for code in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


@pytest.mark.parametrize(
    ("line", "column", "under"),
    [("a: \x1b[31mred", 4, "\\"), ("\ta: x", 2, "a"), ("\x00\u202eb", 3, "b"), ("🙂: x", 1, "🙂"), ("x", 1, "x")],
)
def test_controls_of_the_line_are_shown_and_the_caret_follows(line: str, column: int, under: str) -> None:
    drawn = render_problem(problem(1, column), line, color=False)
    assert drawn.replace("\n", "").isprintable()
    assert caret_of(drawn) == under


def test_a_wide_character_takes_two_columns() -> None:
    drawn = render_problem(problem(1, 3), "世界x", color=False).split("\n")
    assert drawn[2] == " 1 | 世界x"
    assert drawn[3] == "   |     ^"


def test_controls_of_the_message_are_shown() -> None:
    drawn = render_problem(Problem(Mark("a\n\x1b.yaml", 1, 1), "bad \x1b[2J\nvalue"), "x", color=False)
    assert drawn.split("\n")[0] == "a\\n\\x1b.yaml:1:1: bad \\x1b[2J\\nvalue"


def test_a_caret_may_stand_behind_the_last_character() -> None:
    assert render_problem(problem(1, 3), "ab\n", color=False).split("\n")[2:] == [" 1 | ab", "   |   ^"]
    assert render_problem(problem(2, 1), "ab\n", color=False).split("\n")[2:] == [" 2 | ", "   | ^"]


@given(st.integers(1, 3_000), st.integers(1, 3_000))
def test_a_long_line_is_cut_around_the_place(length: int, column: int) -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(length))
    _, _, line, caret = render_problem(problem(1, column), text, color=False).split("\n")
    assert len(line) <= len(" 1 | ") + WIDTH + 2
    if column <= length:
        assert line[caret.index("^")] == text[column - 1]
    else:
        assert caret.index("^") == len(line)


@given(st.text(st.characters(exclude_characters="\n")), st.integers(1, 50))
def test_whatever_the_line_there_is_one_caret_and_nothing_steers_the_terminal(text: str, column: int) -> None:
    drawn = render_problem(problem(1, column), text, color=False)
    lines = drawn.split("\n")
    assert len(lines) == 4
    assert lines[0] == str(problem(1, column))
    assert lines[3].count("^") == 1
    drawn.encode("utf-8")
