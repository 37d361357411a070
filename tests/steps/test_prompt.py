"""A prompt's keys: one way to ask, and the conversation that they make."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gptoss_flow.fields import RENDERED
from gptoss_flow.ports import Message
from gptoss_flow.steps.prompt_body import PromptBody


def body(**keys: Any) -> PromptBody:
    return PromptBody.model_validate(keys, context=RENDERED)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, 'needs "user"'),
        ({"system": "x"}, 'needs "user"'),
        ({"mode": "raw"}, 'raw mode needs "text"'),
        ({"mode": "raw", "text": "x", "messages": []}, 'raw mode takes "text", not "messages"'),
        ({"text": "x"}, '"text" is for raw mode'),
        ({"user": "x", "messages": []}, '"messages" and "user" exclude each other'),
    ],
)
def test_keys_that_contradict_are_refused(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        body(**keys)


def test_the_conversation_is_system_developer_user() -> None:
    asked = body(user="u", developer="d", system="s").conversation()
    assert asked == (Message("system", "s"), Message("developer", "d"), Message("user", "u"))


def test_a_raw_text_is_one_message() -> None:
    assert body(mode="raw", text="The sea").conversation() == (Message("user", "The sea"),)


def test_a_value_that_is_no_text_is_asked_as_json() -> None:
    assert body(user={"a": [1, True, None]}).conversation() == (Message("user", '{"a": [1, true, null]}'),)


def test_null_is_no_text() -> None:
    with pytest.raises(ValidationError):
        body(user=None)


def test_a_rendered_value_that_looks_like_an_expression_is_no_number() -> None:
    with pytest.raises(ValidationError):
        body(user="x", params={"max_tokens": "${{ 1 }}"})
