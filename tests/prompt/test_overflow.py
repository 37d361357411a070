from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.ports import Message, ToolCall
from gptoss_flow.prompt.overflow import droppable, room_wanted, without

CALL = ToolCall(id="c", name="x", arguments="{}")
TALK = [
    Message("system", "s"), Message("user", "1"), Message("assistant", "a1"), Message("user", "2"),
    Message("assistant", "", tool_calls=(CALL,)), Message("tool", "t", tool_call_id="c", name="x"),
    Message("assistant", "a2"), Message("developer", "d"), Message("user", "3"),
    Message("assistant", "", tool_calls=(CALL,)), Message("tool", "u", tool_call_id="c", name="x"),
]  # fmt: skip


def test_turns_are_left_out_whole_and_the_oldest_first() -> None:
    assert droppable(TALK) == [[1, 2], [3, 4, 5, 6]]
    kept = without(TALK, droppable(TALK))
    assert [m.content for m in kept] == ["s", "d", "3", "", "u"]


@given(st.lists(st.sampled_from(TALK), max_size=20))
def test_what_instructs_and_the_last_turn_stay(messages: list[Message]) -> None:
    kept = without(messages, droppable(messages))
    last = max((i for i, m in enumerate(messages) if m.role == "user"), default=0)
    assert [m for m in messages if m.role in ("system", "developer")] == [
        m for m in kept if m.role in ("system", "developer")
    ]
    assert kept[len(kept) - len(messages[last:]) :] == tuple(messages[last:])


def test_the_room_that_is_kept_for_an_answer() -> None:
    assert room_wanted({}, 4096, 512) == 512
    assert room_wanted({"max_tokens": 100}, 4096, 512) == 100
    assert room_wanted({"max_tokens": 9999}, 4096, 512) == 1024
    assert room_wanted({"max_tokens": 0}, 96, 512) == 1
