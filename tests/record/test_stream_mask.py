"""A secret that arrives in pieces is shown in none of them, and everything else is shown, in order."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.events import Channel, Event, StepFinished, StepStarted, TokensArrived
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.stream_mask import EventRedactor
from tests.record.samples import generation

SECRETS = {"A": "hunter2hunter2!", "B": "c0rrect horse"}
REDACTOR = Redactor(SECRETS)


def piece(text: str, step: str = "a", channel: Channel = "final", tokens: int = 1) -> TokensArrived:
    return TokensArrived(step=step, channel=channel, text=text, tokens=tokens)


def shown(events: list[Event], redactor: Redactor = REDACTOR) -> list[Event]:
    redact = EventRedactor(redactor)
    return [seen for event in events for seen in redact(event)]


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, TokensArrived)]


written = st.lists(
    st.sampled_from([*SECRETS.values(), json.dumps(SECRETS)[:-20], "hunter2", "c0rrect ", " and ", "h", "é", "\n"])
    | st.text(max_size=5),
    max_size=8,
).map("".join)


@given(written, st.data())
def test_however_an_answer_is_cut_it_is_shown_as_if_it_were_one(answer: str, data: st.DataObject) -> None:
    pieces, rest = [], answer
    while rest:
        cut = data.draw(st.integers(1, 9))
        pieces.append(rest[:cut])
        rest = rest[cut:]
    events: list[Event] = [*map(piece, pieces), generation("a", answer)]
    seen = shown(events)
    assert "".join(texts(seen)) == REDACTOR.named(answer)
    assert sum(event.tokens for event in seen if isinstance(event, TokensArrived)) == len(pieces)


def test_what_could_begin_a_secret_waits_for_what_follows() -> None:
    redact = EventRedactor(REDACTOR)
    assert texts([*redact(piece("it is hunt"))]) == ["it is "]
    assert texts([*redact(piece("er2hun"))]) == []
    assert texts([*redact(piece("ting"))]) == ["hunter2hunting"]


def test_what_was_held_is_shown_before_anything_else_of_its_step() -> None:
    seen = shown([piece("hunter", tokens=3), StepStarted(step="b", kind="set"), generation("a", "hunter")])
    assert [event.type for event in seen] == ["step_started", "tokens_arrived", "generation_finished"]
    assert seen[1] == piece("hunter", tokens=3)
    ended = shown([piece("hunter"), StepFinished(step="a", outcome="cancelled")])
    assert [event.type for event in ended] == ["tokens_arrived", "step_finished"]


def test_steps_and_channels_are_held_apart() -> None:
    seen = shown([piece("hunter2", "a"), piece("hunter2.", "b"), piece("hunter2!", "a")])
    assert texts(seen) == ["hunter2.", "[redacted:A]"]
    seen = shown([piece("hunter2", channel="analysis"), piece("hunter2."), generation("a", "x")])
    assert texts(seen) == ["hunter2", "hunter2."]


def test_without_secrets_pieces_pass_as_they_are() -> None:
    one = piece("hunter2")
    assert shown([one], Redactor({}))[0] is one
