"""What a terminal would obey is shown, not sent."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.escape import for_terminal, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b2J", "\\x9b2J"),
        ("\x7f", "\\x7f"),
        ("\x00", "\\x00"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("\ud800", "\\ud800"),
        ("\ufeff", "\\ufeff"),
        ("\U000e0041", "\\U000e0041"),
        ("\r\n", "\\r\n"),
        ("tab\tnewline\n", "tab\tnewline\n"),
        ("Grüße, 世界 🙂 \\x1b", "Grüße, 世界 🙂 \\x1b"),
    ],
)
def test_controls_are_made_visible_and_text_is_left_alone(text: str, shown: str) -> None:
    assert for_terminal(text) == shown


def test_one_line_is_one_line() -> None:
    assert one_line("a\nb\r\n\tc\x0bd") == "a\\nb\\r\\n\\tc\\x0bd"


@given(st.text(st.characters()))
def test_whatever_the_text_nothing_unsafe_is_left_and_it_can_be_encoded(text: str) -> None:
    shown = for_terminal(text)
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} or c in "\n\t" for c in shown)
    shown.encode("utf-8")
    assert len(one_line(text).splitlines()) <= 1
