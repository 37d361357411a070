"""Writes values as YAML for people: long texts as blocks, keys in their order."""

from __future__ import annotations

import re
from typing import Any

import yaml

from gptoss_flow.events import Json
from gptoss_flow.fields import json_text

_PLAIN = re.compile(r"[A-Za-z/][\w./-]*", re.ASCII)
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""What some reader of YAML takes for another value than a text."""


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as `|` blocks; nothing is an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def to_yaml(value: Json) -> str:
    """A JSON value as a YAML document that reads back as the same value."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000))


def inline_yaml(value: Json) -> str:
    """A JSON value as YAML that fits behind a key on one line."""
    if isinstance(value, int) or (
        isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    ):
        return json_text(value)  # as the emitter would write it, at a hundredth of the time
    if isinstance(value, str) and "\n" not in value:
        return str(yaml.safe_dump(value, allow_unicode=True, width=10**9)).removesuffix("...\n").rstrip("\n")
    # As the one item of a list, in which nothing can take several lines.
    text = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return str(text).strip()[1:-1]
