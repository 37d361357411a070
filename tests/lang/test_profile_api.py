"""`api` and `build`: what a profile asks of a server that somebody else runs."""

from __future__ import annotations

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_rules import contradictions


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"url": "http://h:1", "api": "responses"}, []),
        ({"url": "http://h:1", "build": "b11434"}, []),
        ({"api": "llama.cpp"}, []),
        ({"api": "chat_completions"}, ["api is for a server that somebody else runs"]),
        ({"build": "b11434"}, ["build is for a server that somebody else runs"]),
        (
            {"url": "http://h:1", "api": "responses", "build": "b1"},
            ["a server that is asked by responses does not tell its build"],
        ),
    ],
)
def test_they_go_with_a_url_alone(keys: dict[str, str], said: list[str]) -> None:
    model = {"path": "m.gguf"} if "url" not in keys else {}
    assert [each.message for each in contradictions(Profile.model_validate({**keys, "model": model}))] == said
