from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.llama import wire
from gptoss_flow.llama.completion import CompletionEvent, missing_tokens, read_event

FINAL = {
    "content": "",
    "tokens": [],
    "stop": True,
    "stop_type": "limit",
    "stopping_word": "",
    "truncated": False,
    "tokens_predicted": 4,
    "tokens_evaluated": 7,
    "unknown": {"deep": [1]},
    "timings": {"cache_n": 3, "prompt_n": 4, "prompt_ms": 56.3, "predicted_per_second": None, "x": "y", "b": True},
}


def test_an_event_of_a_stream_is_read() -> None:
    event = read_event(
        '{"index":0,"content":" greet","tokens":[14477],"stop":false,"id_slot":-1,"tokens_predicted":4}'
    )
    assert event == CompletionEvent(" greet", (14477,), 4, None)


def test_the_last_event_is_read_and_only_numbers_are_timings() -> None:
    event = read_event(json.dumps(FINAL))
    assert event is not None
    assert event.final is not None
    assert event.final.stop_type == "limit"
    assert (event.final.tokens_evaluated, event.final.tokens_predicted, event.final.truncated) == (7, 4, False)
    assert event.final.timings == {"cache_n": 3, "prompt_n": 4, "prompt_ms": 56.3}


def test_an_unknown_reason_to_stop_is_none() -> None:
    event = read_event(json.dumps(FINAL | {"stop_type": ["?"]}))
    assert event is not None
    assert event.final is not None
    assert event.final.stop_type == "none"


def test_numbers_that_cannot_be_are_no_timings() -> None:
    event = read_event('{"content":"","stop":true,"timings":{"a":1e999,"b":-1e999,"c":1' + "0" * 400 + ',"d":1}}')
    assert event is not None
    assert event.final is not None
    assert event.final.timings == {"d": 1}


def test_openais_done_proves_nothing() -> None:
    assert read_event("[DONE]") is None


@pytest.mark.parametrize(
    "data",
    [
        "",
        "null",
        "{}",
        "[]",
        "<html>",
        '{"content": 5}',
        '{"content": "a", "tokens": [1, "2"]}',
        '{"content": "a", "tokens": [-1]}',
        '{"content": "a", "tokens": [true]}',
        '{"content": "a", "tokens": {}}',
        '{"content": "a", "stop": "yes"}',
        '{"content": "a", "x": NaN}',
        '{"content": "a", "x": ' + "9" * 5000 + "}",
        '{"content": ' + "[" * 100_000,
        '{"content": "a"',
    ],
)
def test_what_is_no_completion_is_a_typed_error(data: str) -> None:
    with pytest.raises(StepError) as caught:
        read_event(data)
    assert caught.value.kind == "server"
    assert not caught.value.retryable
    assert len(caught.value.message) < 300


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["content", "tokens", "stop", "error", "message", "type", "timings"]), inner
            )
        ),
    )
)
def test_no_json_raises_anything_but_step_error(value: Any) -> None:
    text = json.dumps(value)
    wire.read_fault(text.encode())
    for read in (wire.read_ids, wire.read_mapping, wire.read_model_ids, lambda v: wire.read_text(v, "content")):
        try:
            read(value)
        except StepError as error:
            assert error.kind == "server"
    try:
        read_event(text)
    except StepError as error:
        assert error.kind in ("server", "model")


@given(st.binary(max_size=400))
def test_an_excerpt_is_short_printable_and_one_line(said: bytes) -> None:
    for shown in (wire.excerpt(said), wire.read_fault(said).message):
        assert len(shown) <= 200
        assert one_line(shown) == shown
        shown.encode()


def test_a_lone_surrogate_in_an_answer_does_not_get_further() -> None:
    event = read_event('{"content": "a\\ud800b", "stop": false}')
    assert event is not None
    event.text.encode()


def test_an_error_event_is_an_error_of_the_server_that_may_be_tried_again() -> None:
    with pytest.raises(StepError, match="Compute error") as caught:
        read_event('{"error": {"code": 500, "message": "Compute error.", "type": "server_error"}}')
    assert (caught.value.kind, caught.value.retryable) == ("server", True)


def test_error_bodies_of_several_shapes_are_read() -> None:
    facts = {"message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}
    overflow = json.dumps({"error": facts}).encode()
    assert wire.read_fault(overflow) == wire.Fault("too long", "exceed_context_size_error", 9, 8)
    assert wire.read_fault(b'{"error": "plain"}').message == "plain"
    assert wire.read_fault(b'{"error": {"code": 1}}').message == '{"code": 1}'
    assert wire.read_fault(b"<html>\x1b[2J no").message == "<html>\\x1b[2J no"
    assert wire.read_fault(b"").message == "(an empty body)"
    assert wire.read_fault(b'{"error":{"message":"Loading model","type":"unavailable_error"}}').is_loading


def test_an_overflow_tells_both_sizes_and_what_to_do() -> None:
    error = wire.context_overflow(wire.Fault("m", "exceed_context_size_error", 1100, 1024))
    assert error is not None
    assert (error.kind, error.retryable) == ("model", False)
    assert "1100" in error.message
    assert "1024" in error.message
    assert "`context`" in error.message


def test_ids_that_an_event_leaves_out_come_from_its_text() -> None:
    assert missing_tokens([227], 3, [10, 20, 227]) == (10, 20, 227)
    assert missing_tokens([227], 3, [5, 10, 20, 227]) == (10, 20, 227), "text that was held back before"
    assert missing_tokens([227], 3, [99]) == (99,), "another way to write the same bytes"
    assert missing_tokens([227], 3, []) == (227,)
    assert missing_tokens([227], 1, [1, 2]) == (227,)


def test_the_other_endpoints_are_read() -> None:
    assert wire.read_ids({"tokens": [1, 2]}) == [1, 2]
    assert wire.read_text({"prompt": "p"}, "prompt") == "p"
    assert wire.read_model_ids({"data": [{"id": "a"}, {"id": "b"}]}) == ["a", "b"]
    with pytest.raises(StepError):
        wire.read_model_ids({"data": [{"name": "a"}]})


def test_nan_is_not_json() -> None:
    with pytest.raises(ValueError, match="NaN"):
        wire.parse_json("[NaN]")
    assert math.isinf(wire.parse_json("1e999"))
