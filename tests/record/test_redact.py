"""No secret is left in an event, in whatever encoding and field it stands, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import Invalid, RecordError
from gptoss_flow.events import (
    Event,
    GenerationFinished,
    PromptRendered,
    RunFinished,
    StepFinished,
    StepStarted,
    TokensArrived,
    ToolFinished,
    Warned,
)
from gptoss_flow.record.redact import SHORTEST_SECRET, STRUCTURE, Redactor, marker
from tests.record.samples import a_run, any_event, generation, run_started
from tests.record.secrets import SHAPED

SECRET = 'pa$$ "wörd" <1>/é+&\'x'
MASKED = "[redacted:API_TOKEN]"
NAMED = Redactor({"API_TOKEN": SECRET})
NONE = Redactor({})
GITHUB = SHAPED["github_token"][0]

ENCODED = {
    "plain": SECRET,
    "json": json.dumps(SECRET)[1:-1],
    "json, not ASCII": json.dumps(SECRET, ensure_ascii=False)[1:-1],
    "hex": SECRET.encode().hex(),
    "HEX": SECRET.encode().hex().upper(),
    "percent": quote(SECRET, safe=""),
    "percent in a path": quote(SECRET),
    "percent in a form": quote_plus(SECRET),
    "percent in lower case": re.sub("%..", lambda code: code[0].lower(), quote(SECRET, safe="")),
    "html": html.escape(SECRET),
    "backwards": SECRET[::-1],
}


@pytest.mark.parametrize("encoding", ENCODED)
def test_a_named_secret_is_masked_in_an_encoding(encoding: str) -> None:
    assert NAMED.text(f"<<{ENCODED[encoding]}>>") == f"<<{MASKED}>>"


@given(st.binary(max_size=20), st.binary(max_size=20), st.booleans())
def test_in_base64_a_secret_is_masked_wherever_it_stands_in_what_was_encoded(
    before: bytes, after: bytes, urlsafe: bool
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    text = encode(before + SECRET.encode() + after).decode()
    seen = NAMED.text(text)
    head, found, tail = seen.partition(MASKED)
    assert found
    assert len(head) <= len(before) * 4 // 3 + 3
    assert len(tail) <= len(after) * 4 // 3 + 6


@given(st.text(min_size=SHORTEST_SECRET, max_size=30).filter(lambda text: len(text.strip()) >= SHORTEST_SECRET))
def test_any_secret_is_found_in_any_text(secret: str) -> None:
    redactor = Redactor({"X": secret})
    assert secret.strip() not in redactor.named(f"before {secret} after").replace("[redacted:X]", "")
    event = redactor.event(Warned(message=f"<{secret}>"))
    assert isinstance(event, Warned)
    assert "[redacted:X]" in event.message


def test_each_line_of_a_secret_of_several_is_one_and_its_frame_is_not() -> None:
    frame = "-----BEGIN A KEY-----"
    redactor = Redactor({"KEY": f"{frame}\nfirst-line-0123456789\nsecond-line-0123456789\n"})
    assert redactor.text("a second-line-0123456789 b") == "a [redacted:KEY] b"
    assert redactor.text(frame) == frame


def test_the_longest_secret_wins_and_no_marker_is_masked_again() -> None:
    redactor = Redactor({"LONG": "abcdefghij", "SHORT": "abcdef", "WORD": "redacted", "OF_MARKER": "github_token"})
    assert redactor.text("abcdefghij abcdef redacted") == "[redacted:LONG] [redacted:SHORT] [redacted:WORD]"


def test_a_secret_too_short_to_be_kept_out_is_refused_by_name_alone() -> None:
    with pytest.raises(Invalid, match="the secret PIN has less than 6 characters") as refused:
        Redactor({"PIN": "12345", "OK": "123456", "UNSET": ""})
    assert "12345" not in str(refused.value)


def test_a_marker_is_one_that_readers_of_logs_count() -> None:
    assert marker("A.B-c") == "[redacted:A_B_c]"


def test_numbers_keys_and_what_a_key_tells_are_redacted_too() -> None:
    redactor = Redactor({"PIN": "12345678"})
    assert redactor.value({"pin": 12345678, "of": [True, 1.5, 12345678]}) == {
        "pin": "[redacted:PIN]",
        "of": [True, 1.5, "[redacted:PIN]"],
    }
    assert redactor.value({"x12345678y": 1}) == {"x[redacted:PIN]y": 1}
    key = "a1B2" * 10
    assert NONE.value({"SecretAccessKey": key}) == {"SecretAccessKey": "[redacted:aws_secret_access_key]"}
    assert NONE.value({"Checksum": key}) == {"Checksum": key}


def test_for_the_user_only_secrets_with_a_name_are_masked() -> None:
    assert NAMED.named_value({"a": [f"{GITHUB} {SECRET}"]}) == {"a": [f"{GITHUB} {MASKED}"]}
    value = {"a": [GITHUB]}
    assert NONE.named_value(value) is value


@given(any_event)
def test_an_event_without_a_secret_is_given_back_as_it_is(event: Event) -> None:
    assert NONE.event(event) is event
    assert Redactor({"X": "\ue000 no such text \ue000"}).event(event) is event


@pytest.mark.parametrize("cls", get_args(Event), ids=lambda cls: cls.type)
def test_every_field_of_an_event_that_can_hold_a_text_is_searched(cls: type[Any]) -> None:
    hints = get_type_hints(cls)
    texts = {str: SECRET, Any: SECRET, str | None: SECRET, dict[str, Any]: {"x": [SECRET]}}
    texts |= {dict[str, Any] | None: {"x": SECRET}, list[dict[str, Any]]: [{"content": SECRET}]}
    plain: dict[Any, Any] = {int: 1, float: 1.0, bool: False, int | None: None, dict[str, str]: {}, list[int]: [1]}
    plain |= {dict[str, int]: {}, dict[str, float]: {}, list[str]: [], dict[str, list[str]]: {}}
    given = {}
    for name in (f.name for f in fields(cls)):
        given[name] = "x" if name in STRUCTURE and hints[name] is str else plain.get(hints[name], "x")
        if name not in STRUCTURE and hints[name] not in (int, float, bool, int | None):
            given[name] = texts[hints[name]]
    event = cls(**given)
    searched = [f.name for f in fields(cls) if given[f.name] in texts.values()]
    redacted = NAMED.event(event)
    assert SECRET not in repr([getattr(redacted, name) for name in searched])
    assert (redacted is event) == (not searched)
    if hasattr(event, "redacted"):
        assert redacted.redacted


def test_a_whole_run_with_a_secret_everywhere_says_it_nowhere() -> None:
    for event in a_run(f"before {SECRET} after {GITHUB}"):
        said = repr(NAMED.event(event))
        assert SECRET not in said
        assert GITHUB not in said
        assert type(NAMED.event(event)) is type(event)


def test_ids_of_tokens_go_with_the_text_that_they_spell() -> None:
    asked = PromptRendered(
        step="a", attempt=1, server="main", mode="chat", messages=[{"role": "user", "content": GITHUB}],
        tokens=[1, 2], params={},
    )  # fmt: skip
    prompt, answer = NONE.event(asked), NONE.event(generation("a", "x", reasoning=f"so {GITHUB}"))
    assert isinstance(prompt, PromptRendered)
    assert isinstance(answer, GenerationFinished)
    assert (prompt.tokens, prompt.redacted, prompt.messages[0]["role"]) == ([], True, "user")
    assert (answer.tokens, answer.redacted, answer.text) == ([], True, "x")
    assert answer.reasoning == "so [redacted:github_token]"


def test_names_that_hold_the_record_together_stay() -> None:
    redactor = Redactor({"A": "summary", "B": "succeeded", "C": "prompt"})
    event = StepFinished(step="summary", outcome="succeeded", output="summary")
    assert redactor.event(event) == replace(event, output="[redacted:A]", redacted=True)
    assert redactor.event(StepStarted(step="summary", kind="prompt")) == StepStarted(step="summary", kind="prompt")


def test_pieces_that_only_look_like_secrets_are_shown() -> None:
    piece = TokensArrived(step="a", channel="final", text=GITHUB, tokens=9)
    assert NONE.event(piece) is piece


def test_inputs_results_and_outputs_are_redacted() -> None:
    started = NONE.event(run_started(inputs={"log": f"x {GITHUB}"}))
    assert started == run_started(inputs={"log": "x [redacted:github_token]"}, redacted=True)
    result = NAMED.event(ToolFinished(step="a", call_id="a.1", tool="t", result={"text": SECRET}))
    assert isinstance(result, ToolFinished)
    assert (result.result, result.redacted) == ({"text": MASKED}, True)
    end = RunFinished(
        status="failed", exit_code=1, outputs={"x": [SECRET]}, tokens={}, duration_s=1.0, error=f"no {SECRET}"
    )
    assert NAMED.event(end) == replace(end, outputs={"x": [MASKED]}, error=f"no {MASKED}")


def test_what_is_nested_too_deep_to_be_searched_is_a_record_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecordError, match="cannot write a step_finished record: it is nested too deep"):
        NONE.event(StepFinished(step="a", outcome="succeeded", output=deep))
