"""What to leave out of a conversation that does not fit: its oldest turns, never what is asked last. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gptoss_flow.events import Json
from gptoss_flow.ports import Message

_SHARE = 4
"""An answer is given a quarter of the context, unless it may not be that long."""


def room_wanted(params: Mapping[str, Json], context_tokens: int, default: int) -> int:
    """How many tokens are kept for the answer, before anything is left out for it."""
    most = params.get("max_tokens")
    return max(1, min(default if most is None else most, context_tokens // _SHARE))


def droppable(messages: Sequence[Message]) -> list[list[int]]:
    """The turns that may be left out, the oldest first, each as the places of its messages.

    A turn is what a user says and all that follows until the next. System and developer messages stay, and so does
    the last turn: what the user asked last, and the tools' results for it.
    """
    turns: list[list[int]] = [[]]
    for i, message in enumerate(messages):
        if message.role in ("system", "developer"):
            continue
        if message.role == "user" and turns[-1]:
            turns.append([])
        turns[-1].append(i)
    return turns[:-1]


def without(messages: Sequence[Message], turns: Sequence[Sequence[int]]) -> tuple[Message, ...]:
    left_out = {i for turn in turns for i in turn}
    return tuple(message for i, message in enumerate(messages) if i not in left_out)
