"""The values of a profile as its file would say them: times and sizes in the words in which people write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel

from gptoss_flow.events import Json
from gptoss_flow.fields import duration_text, size_text
from gptoss_flow.lang.dump import inline_yaml
from gptoss_flow.lang.profile_layers import KeyPath

_AS_WRITTEN: Mapping[KeyPath, Callable[[Any], str]] = {
    ("idle_timeout",): duration_text,
    ("keepalive", "every"): duration_text,
    ("start_timeout",): duration_text,
    ("restart", "window"): duration_text,
    ("model", "size"): size_text,
    ("kv_cache", "ram"): size_text,
    ("log", "max_bytes"): size_text,
}


def value_text(path: KeyPath, value: Any) -> str:
    """The value of the key at `path`, as one line of YAML."""
    if path in _AS_WRITTEN and not isinstance(value, str):
        return _AS_WRITTEN[path](value)
    return inline_yaml(_plain(value))


def _plain(value: Any) -> Json:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=True)
    return [_plain(item) for item in value] if isinstance(value, list) else value
