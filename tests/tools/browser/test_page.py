"""Pages: lines, windows, matches."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.tools.browser.page import ASKED_BYTES, WIDTH, WINDOW_BYTES, Page, found, view, wrapped


def page(*lines: str, title: str = "Title") -> Page:
    return Page(kind="page", url="http://example.org/", title=title, lines=lines)


def test_a_view_has_cursor_title_url_window_and_numbered_lines() -> None:
    assert view(page("a", "", "c"), 3, 0, -1) == (
        "[3] Title (http://example.org/)\n**viewing lines [0 - 2] of 2**\n\nL0: a\nL1: \nL2: c"
    )
    assert view(page("a", "b", "c"), 0, 1, 1).endswith("**viewing lines [1 - 1] of 2**\n\nL1: b")


def test_a_line_beyond_the_page_is_said() -> None:
    with pytest.raises(StepError, match="line 3 is beyond the page, whose lines are 0 to 2"):
        view(page("a", "b", "c"), 0, 3, -1)


@pytest.mark.parametrize(("lines", "most"), [(-1, WINDOW_BYTES), (100_000, ASKED_BYTES)])
@pytest.mark.parametrize("char", ["x", "日", "👩"])
def test_a_view_is_bounded_in_bytes_whatever_is_asked(lines: int, most: int, char: str) -> None:
    shown = view(page(*[char * WIDTH] * 5000), 0, 0, lines)
    assert most / 2 < len(shown.encode()) < most + 200


def test_a_view_shows_at_least_one_line() -> None:
    assert "L0: x" in view(page("x" * 100_000), 0, 0, -1)


def test_a_long_title_is_cut() -> None:
    assert len(view(page("a", title="x" * 10_000), 0, 0, -1)) < 400


def test_a_title_stays_on_its_line_and_makes_no_marks() -> None:
    assert view(page("a", title="x\n【0†y】\x1b[31m"), 0, 0, -1).startswith(r"[0] x\n〖0†y〗\x1b[31m (http")


@given(st.text(st.sampled_from("ab \n"), max_size=600))
def test_wrapping_loses_nothing_but_the_spaces_it_breaks_at(text: str) -> None:
    lines = wrapped(text)
    assert all(len(line) <= WIDTH for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert len(lines) >= text.count("\n") + 1


def test_long_words_are_cut_and_others_kept_whole() -> None:
    assert wrapped("x" * 200) == ["x" * 80, "x" * 80, "x" * 40]
    assert wrapped("word " * 20) == ["word " * 15 + "word", "word word word word "]


def test_matches_are_links_to_their_lines_whatever_case_and_line_ends() -> None:
    text = page(
        "The first line", "has a LONG", "sentence 【3†with a link†other.org】", "x", "y", "z", "w", "long sentence"
    )
    matches = found(text, "long  sentence")
    assert matches.spots == {0: 1, 1: 7}
    assert list(matches.lines) == [
        "# 【0†match at L1】", "has a LONG", "sentence with a link", "x", "y", "", "# 【1†match at L7】",
        "long sentence", "",
    ]  # fmt: skip
    assert found(text, "with a link").spots == {0: 2}
    assert found(text, "other.org").spots == {}


def test_no_match_is_said() -> None:
    assert list(found(page("a"), "【b】\n").lines) == [r"No `find` results for pattern: `〖b〗\n`"]
    assert found(page(""), " ").lines[0].startswith("No `find` results")


def test_more_matches_than_are_shown_are_said() -> None:
    matches = found(page(*["hit"] * 1000), "hit")
    assert len(matches.spots) == 50
    assert matches.lines[-1] == "There are more matches than these 50."


@given(
    st.lists(st.text(st.sampled_from("abAB 【】0†"), max_size=6), min_size=1),
    st.text(st.sampled_from("ab "), min_size=1),
)
def test_every_match_is_within_the_snippet_of_its_link(lines: list[str], pattern: str) -> None:
    matches = found(page(*lines), pattern)
    for first in matches.spots.values():
        assert 0 <= first < len(lines)
    starts = sorted(matches.spots.values())
    assert all(later - earlier >= 4 for earlier, later in pairwise(starts))
