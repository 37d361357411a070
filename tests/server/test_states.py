import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.events import ServerState
from gptoss_flow.server import states

SIGNALS = typing.get_args(states.Signal)
STATES = typing.get_args(ServerState)


@given(st.lists(st.sampled_from(SIGNALS)))
def test_no_sequence_of_signals_leaves_the_table(signals: list[states.Signal]) -> None:
    state: ServerState = "stopped"
    for signal in signals:
        try:
            state = states.after(state, signal)
        except ValueError:
            continue
        assert state in STATES


def test_every_state_is_reached_and_every_state_is_left() -> None:
    assert {state for state, _ in states.TABLE} == set(STATES) == set(states.TABLE.values())


def test_a_signal_that_makes_no_sense_is_a_bug() -> None:
    with pytest.raises(ValueError, match="stopped cannot take the signal 'left'"):
        states.after("stopped", "left")


def test_the_drawing_has_a_line_for_every_transition() -> None:
    lines = states.drawing().splitlines()
    assert len(lines) == len(states.TABLE)
    assert " stopped --start-----> starting" in lines
