"""Which differences of two profiles need a process each."""

from __future__ import annotations

from typing import Any

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_diff import differing_keys, shares_process


def profile(**keys: Any) -> Profile:
    return Profile.model_validate({"model": {"path": "/m/a.gguf"}, **keys})


@pytest.mark.parametrize(
    ("keys", "differing", "shared"),
    [
        ({}, {}, True),
        ({"name": "b", "description": "B."}, {}, True),
        ({"request": {"temperature": 0.5}}, {("request", "temperature"): "request-time"}, True),
        ({"warmup": {"count": 2}}, {("warmup", "count"): "request-time"}, True),
        ({"batch": 1024}, {("batch",): "load-time"}, False),
        ({"kv_cache": {"k": "q8_0"}}, {("kv_cache", "k"): "load-time"}, False),
        ({"env": {"A": "1"}}, {("env", "A"): "load-time"}, False),
        ({"model": {"path": "/m/b.gguf"}}, {("model", "path"): "model"}, None),
        (
            {"model": {"path": "/m/b.gguf"}, "mlock": True},
            {("model", "path"): "model", ("mlock",): "load-time"},
            False,
        ),
        ({"model": {"path": "/m/a.gguf", "alias": "x"}}, {("model", "alias"): "load-time"}, False),
        ({"context": 4096}, {}, True),
        ({"context_total": 4 * 4096}, {}, True),
        ({"context": 100}, {("context",): "load-time"}, False),
        ({"context": 2048, "parallel": 8}, {("context",): "load-time", ("parallel",): "load-time"}, False),
        ({"lora": [{"path": "l.gguf"}]}, {("lora",): "load-time"}, False),
    ],
)  # fmt: skip
def test_each_differing_key_has_its_kind(
    keys: dict[str, Any], differing: dict[tuple[str, ...], str], shared: bool | None
) -> None:
    assert differing_keys(profile(), profile(**keys)) == differing
    assert differing_keys(profile(**keys), profile()) == differing
    assert shares_process(profile(), profile(**keys)) is shared


def test_the_scale_of_an_adapter_is_no_reason_for_another_process() -> None:
    one, other = (profile(lora=[{"path": "l.gguf", "scale": scale}]) for scale in (1.0, 0.5))
    assert differing_keys(one, other) == {("lora",): "request-time"}
    assert shares_process(one, other) is True


def test_sharing_agrees_with_what_a_fingerprint_is_made_of() -> None:
    for key, value in {"batch": 64, "ubatch": 64, "mmap": False, "seed": 1, "idle_timeout": 5.0}.items():
        one, other = profile(), profile(**{key: value})
        assert shares_process(one, other) is (one.load_time() == other.load_time()), key


def test_keys_are_in_the_order_of_a_profile() -> None:
    found = differing_keys(profile(seed=1), profile(mmap=False, context=9, engine="embedded"))
    assert list(found) == [("engine",), ("seed",), ("context",), ("mmap",)]
