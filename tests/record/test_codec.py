"""What is read is what was written, or the damage is told."""

from __future__ import annotations

import json
import math
from dataclasses import fields as fields_of
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Stamped, StepFinished, ToolStarted, Warned
from gptoss_flow.record.codec import Damaged, UnknownType, decode, encode
from tests.record.samples import RECORDED, START, a_run, any_event, generation, run_started, stamp


def test_the_sample_run_has_every_type_of_event() -> None:
    assert {type(event) for event in a_run()} == set(RECORDED)


def _paired(value: Any) -> Any:
    """Halves of surrogate pairs that stand side by side become one character in JSON: its one ambiguity."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        case dict():
            return {_paired(key): _paired(item) for key, item in value.items()}
        case list():
            return [_paired(item) for item in value]
        case _:
            return value


@given(any_event, st.integers(1, 2**53), st.integers(0, 2**32 * 10**6))
@settings(max_examples=400)
def test_every_event_comes_back_as_it_was(event: Any, seq: int, microseconds: int) -> None:
    fields = {name: _paired(getattr(event, name)) for name in (f.name for f in fields_of(event))}
    stamped = Stamped(seq, microseconds / 10**6, type(event)(**fields))
    line = encode(stamped)
    assert decode(line) == (stamped, frozenset())
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert (b',"crc":"' in line[-19:]) == event.boundary


def test_half_a_surrogate_pair_survives() -> None:
    stamped = Stamped(1, START, Warned(message="\ud83d alone"))
    assert decode(encode(stamped))[0] == stamped


def test_a_record_has_the_promised_keys_in_order() -> None:
    line = encode(Stamped(7, 1767225600.25, StepFinished(step="a", outcome="succeeded", output=[1])))
    assert line == (
        b'{"seq":7,"t":1767225600.250000,"type":"step_finished","step":"a","outcome":"succeeded","output":[1],'
        b'"fields":{},"error":null,"reason":"","duration_s":0.0,"items":null,"key":{},"reused":"","redacted":false}\n'
    )


def test_a_call_that_must_not_happen_twice_is_a_boundary_before_it_begins() -> None:
    once, again = (
        ToolStarted(step="a", call_id="a.1", tool="t", arguments={}, effect=effect) for effect in ("once", "pure")
    )
    assert (once.boundary, again.boundary) == (True, False)
    line = encode(Stamped(1, START, once))
    assert decode(line)[0].event == once
    unsummed = line[: line.rindex(b',"crc"')] + b"}"
    with pytest.raises(Damaged) as seen:
        decode(unsummed)
    assert seen.value.kind == "crc"
    assert b'"crc"' not in encode(Stamped(1, START, again))


def test_numbers_that_json_does_not_have_become_null() -> None:
    for lone in ("", "\ud800"):
        event = StepFinished(
            step="a", outcome="succeeded", output=[math.nan, {"x": math.inf}, -math.inf, lone, 1.5]
        )
        line = encode(Stamped(1, START, event))
        read = decode(line)[0].event
        assert isinstance(read, StepFinished)
        assert read.output == [None, {"x": None}, None, lone, 1.5]
        assert b"NaN" not in line
        assert b"Inf" not in line


def test_what_is_nested_too_deep_to_write_is_a_record_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecordError, match="cannot write a step_finished record"):
        encode(Stamped(1, START, StepFinished(step="a", outcome="succeeded", output=deep)))


@pytest.mark.parametrize("event", [run_started(), generation("a", "text"), a_run()[-1]])
def test_any_flipped_bit_of_a_boundary_record_is_seen(event: Any) -> None:
    line = encode(Stamped(3, START, event))
    for index in range(len(line) - 1):
        for bit in range(8):
            flipped = bytearray(line)
            flipped[index] ^= 1 << bit
            # A bit can make a newline, as 'J' is one bit away from it: then there are two lines to judge.
            for part in bytes(flipped).splitlines(keepends=True) if flipped[index] == 10 else [bytes(flipped)]:
                with pytest.raises(Damaged):
                    decode(part)


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"", "broken"),
        (b"\0\0\0\0", "broken"),
        (b'{"seq":1,"t":1.0,"type":"warned","message":"\0\0\0', "broken"),
        (b"[1]", "broken"),
        (b'{"seq":1}', "shape"),
        (b'{"seq":true,"t":1.0,"type":"warned","message":"x"}', "shape"),
        (b'{"seq":1,"t":1.0,"message":"x"}', "shape"),
        (b'{"seq":1,"t":1.0,"type":"warned"}', "shape"),
        (b'{"seq":1,"t":1.0,"type":"warned","message":7}', "shape"),
        (b'{"seq":1,"t":1.0,"type":"step_finished","step":"a","outcome":"failed","error":"x"}', "shape"),
        (b'{"seq":1,"t":1.0,"type":"run_finished","status":"succeeded"}', "crc"),
        (b"\xff\xfe", "broken"),
        (b"[" * 100_000, "broken"),
        (b"1" * 10_000, "broken"),
    ],
)
def test_a_line_that_is_no_record_is_damage_of_a_kind(line: bytes, kind: str) -> None:
    with pytest.raises(Damaged) as seen:
        decode(line)
    assert seen.value.kind == kind


def test_what_a_newer_version_wrote_is_told_apart_from_damage() -> None:
    with pytest.raises(UnknownType, match="step_paused"):
        decode(b'{"seq":1,"t":1.0,"type":"step_paused","why":"tea"}')
    stamped, unknown = decode(b'{"seq":1,"t":1.0,"type":"warned","message":"x","mood":"dark"}')
    assert stamped == Stamped(1, 1.0, Warned(message="x"))
    assert unknown == {"mood"}


def test_no_text_can_make_a_record_look_summed() -> None:
    for event in (
        Warned(message="x", step='","crc":"00000000'),
        StepFinished(step="a", outcome="failed", error={"x": 1, "crc": "00000000"}),
    ):
        stamped = Stamped(1, START, event)
        assert decode(encode(stamped))[0] == stamped


def test_every_record_is_valid_json_on_its_own() -> None:
    for stamped in stamp(a_run("a\u2028b\nc\x00")):
        record = json.loads(encode(stamped))
        assert list(record)[:3] == ["seq", "t", "type"]
        assert (list(record)[-1] == "crc") == stamped.event.boundary
