"""Conversations in the journal: a turn is written as what it adds, and read as it was."""

from __future__ import annotations

import json
from binascii import crc32
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.events import Event, PromptRendered, StepFinished
from gptoss_flow.record.journal_file import JournalDamage, JournalFile, read_journal
from gptoss_flow.record.turns import KEPT
from tests.record.samples import run_started, stamp

TOOL = {"name": "read_file", "description": "Read.", "parameters": {"type": "object", "maximum": 1}}


def prompt(turn: int, *said: str, step: str = "a", **changes: Any) -> PromptRendered:
    messages: list[Any] = [{"role": "user", "content": text} for text in said]
    given: dict[str, Any] = {"tokens": [ord(c) for text in said for c in text], "tools": [TOOL], "params": {}}
    given |= {"attempt": 1, "server": "main", "mode": "harmony", "messages": messages, "turn": turn}
    return PromptRendered(step=step, **{**given, **changes})


def written(path: Path, events: list[Event]) -> list[dict[str, Any]]:
    journal = JournalFile(path)
    for stamped in stamp(events):
        journal.take(stamped)
    journal.close()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read(path: Path, damage: JournalDamage | None = None) -> list[Event]:
    return [stamped.event for stamped in read_journal(path, damage)]


def test_a_turn_is_written_as_what_it_adds_and_read_whole(tmp_path: Path) -> None:
    events: list[Event] = [run_started(), prompt(1, "one"), prompt(2, "one", "two"), prompt(3, "one", "two", "é")]
    lines = written(tmp_path / "events.jsonl", events)
    assert [[m["content"] for m in line["messages"]] for line in lines[1:]] == [["one"], ["two"], ["é"]]
    assert [line["tokens"] for line in lines[2:]] == [[*b"two"], [0xE9]]
    written_before = (tmp_path / "events.jsonl").read_bytes().splitlines()[1:3]
    assert [line["since"] for line in lines[2:]] == [
        {"seq": seq, "crc": crc32(line), "messages": seq - 1, "tokens": 3 * (seq - 1), "tools": 1}
        for seq, line in enumerate(written_before, start=2)
    ]
    assert [line["tools"] for line in lines[2:]] == [[], []]
    assert read(tmp_path / "events.jsonl") == events


def test_a_conversation_takes_as_much_room_as_what_is_said_in_it(tmp_path: Path) -> None:
    said = [f"{n} {'x' * 1000}" for n in range(200)]
    events: list[Event] = [prompt(turn, *said[:turn]) for turn in range(1, 201)]
    written(tmp_path / "events.jsonl", events)
    assert (tmp_path / "events.jsonl").stat().st_size < 200 * 10_000
    assert read(tmp_path / "events.jsonl") == events


TURNS = st.tuples(
    st.sampled_from(["a", "b[0]"]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.lists(st.text(max_size=3), max_size=3),
    st.lists(st.integers(0, 2), max_size=4),
    st.sampled_from([[], [TOOL], [{**TOOL, "parameters": {"type": "object", "maximum": True}}]]),
    st.booleans(),
)


@given(st.lists(TURNS, max_size=12))
@settings(max_examples=200)
def test_whatever_the_turns_say_they_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, given_turns: list[tuple[Any, ...]]
) -> None:
    path = tmp_path_factory.mktemp("turns") / "events.jsonl"
    events: list[Event] = []
    for step, turn, attempt, said, tokens, tools, ends in given_turns:
        events.append(prompt(turn, *said, step=step, attempt=attempt, tokens=tokens, tools=tools))
        if ends:
            events.append(StepFinished(step=step, outcome="succeeded"))
    written(path, events)
    assert repr(read(path)) == repr(events)


def test_a_turn_whose_beginning_is_damaged_is_not_made_up(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events: list[Event] = [
        prompt(1, "one"),
        prompt(2, "one", "two"),
        run_started(),
        prompt(1, "anew"),
        prompt(2, "anew", "x"),
    ]
    written(path, events)
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (b"{}\n", lines[0].replace(b"one", b"ome")):
        path.write_bytes(b"".join([damaged, *lines[1:]]))
        damage = JournalDamage()
        assert read(path, damage)[-3:] == events[2:]
        assert damage.lines[-1].message == "it goes on from record 1, which is lost or not as it was"
        assert damage.lines[-1].line == 2


def test_a_last_line_that_goes_on_from_a_lost_one_is_not_called_torn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, [prompt(1, "one"), prompt(2, "one", "two")])
    path.write_bytes(b"{}\n" + path.read_bytes().splitlines()[1])
    damage = JournalDamage()
    assert read(path, damage) == []
    assert [str(line) for line in damage.lines][
        1
    ] == "line 2: it goes on from record 1, which is lost or not as it was"


def test_a_run_that_is_taken_up_begins_with_a_whole_turn(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    written(path, [prompt(1, "one"), prompt(2, "one", "two")])
    lines = written(path, [prompt(3, "one", "two", "three")])
    assert len(lines[-1]["messages"]) == 3
    assert read(path) == [prompt(1, "one"), prompt(2, "one", "two"), prompt(3, "one", "two", "three")]


def test_a_step_that_ended_is_not_kept_and_of_many_the_oldest_goes(tmp_path: Path) -> None:
    ended: list[Event] = [prompt(1, "x"), StepFinished(step="a", outcome="succeeded"), prompt(2, "x", "y")]
    assert len(written(tmp_path / "one.jsonl", ended)[-1]["messages"]) == 2
    many: list[Event] = [prompt(1, "x", step=f"s{n}") for n in range(KEPT + 1)]
    many += [prompt(2, "x", "y", step="s0"), prompt(2, "x", "y", step=f"s{KEPT}")]
    lines = written(tmp_path / "many.jsonl", many)
    assert [len(line["messages"]) for line in lines[-2:]] == [2, 1]
    assert read(tmp_path / "many.jsonl") == many


def test_a_record_that_claims_more_than_was_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = written(path, [prompt(1, "one"), prompt(2, "one", "two")])
    for claim in (9, -1, None):
        lines[1]["since"]["messages"] = claim
        path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n" + json.dumps(lines[1]).encode() + b"\n")
        damage = JournalDamage()
        whole = read(path, damage)
        assert (len(whole), damage.count) == (1, 1)
        assert whole == [prompt(1, "one")]
