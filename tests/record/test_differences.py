"""Where two things part, in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.record.differences import SHOWN_CHARS, excerpt, first_apart, first_token_apart, messages_apart


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_the_first_difference_is_where_the_beginnings_end(one: list[int], other: list[int]) -> None:
    at = first_apart(one, other)
    if at is None:
        assert one == other
    else:
        assert one[:at] == other[:at]
        assert one[at : at + 1] != other[at : at + 1]


def test_the_end_of_tokens_is_told() -> None:
    assert first_token_apart([1, 2], [1, 2]) == ""
    assert first_token_apart([1, 3], [1, 2]) == "token 1 is 3, and was 2"
    assert first_token_apart([1], [1, 2]) == "token 1 is the end, and was 2"
    assert first_token_apart([1, 2], [1]) == "token 1 is 2, and was the end"


def test_the_message_and_the_character_are_told() -> None:
    one = [{"role": "user", "content": "Hello there"}]
    assert messages_apart(one, one) == ""
    assert messages_apart([{"role": "user", "content": "Hello then"}], one) == (
        "message 1 is not as it was, from character 10 on: 'Hello then', was 'Hello there'"
    )
    assert (
        messages_apart([{"role": "system", "content": "x"}], one)
        == "message 1 is the system's, and was the user's"
    )
    assert messages_apart([], one) == "it has 0 messages, and had 1"
    assert messages_apart([*one, *one], one) == "it has 2 messages, and had 1"


@given(st.text(), st.integers(0, 200))
def test_an_excerpt_is_short_and_on_one_line(text: str, at: int) -> None:
    found = excerpt(text, min(at, len(text)))
    assert len(found.splitlines()) == 1
    assert len(found) <= 10 * SHOWN_CHARS + 4
    if len(text) <= SHOWN_CHARS and at <= SHOWN_CHARS // 4:
        assert found == repr(text)
