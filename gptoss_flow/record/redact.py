"""Takes secrets out of whatever is recorded or shown: those that the flow names, and those that look like one.

What is masked becomes `[redacted:NAME]` with the secret's name, or `[redacted:github_token]` with its shape's.
A net, not the wall: a secret that a program rewrites in a way of its own is not found.
"""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, Final, get_args, get_type_hints
from urllib.parse import quote, quote_plus

from gptoss_flow.errors import Invalid, Problem, RecordError
from gptoss_flow.events import Event, Json, TokensArrived
from gptoss_flow.record.secret_shapes import KEY_SIGNS, SHORTEST, literals_finder, replace_shapes

SHORTEST_SECRET = 6
"""Characters. Anything shorter would be found in ordinary text all the time, above all in its Base64 form."""
_SHORTEST_LINE = 16

STRUCTURE: Final = frozenset(
    {
        "run_id", "flow", "started_at", "resumed_at", "version", "steps", "servers", "needs", "final", "repo_sha",
        "server", "state", "step", "kind", "mode", "channel", "call_id", "tool", "effect", "outcome", "reason",
        "status", "finish_reason", "usage", "timings", "tokens", "key", "reused", "redo", "assume_done", "changed",
        "permission", "since",
    }
)  # fmt: skip
"""Fields of events that hold our own words and the flow's names. Everything else is searched."""

_NO_TEXT = (int, float, bool, int | None)


def _searched(cls: type[Any]) -> tuple[str, ...]:
    hints = get_type_hints(cls)
    return tuple(f.name for f in fields(cls) if f.name not in STRUCTURE and hints[f.name] not in _NO_TEXT)


_SEARCHED: Final = {cls: _searched(cls) for cls in get_args(Event)}
_TELLS: Final = frozenset(cls for cls in _SEARCHED if "redacted" in {f.name for f in fields(cls)})


def marker(name: str) -> str:
    """`[redacted:NAME]`, the one form that readers of rlog/1 count: word characters only."""
    return f"[redacted:{re.sub(r'[^A-Za-z0-9_]', '_', name)}]"


def spellings(secret: str) -> Iterator[str]:
    """A secret in nine encodings: as it is, in JSON, Base64, Base64 for URLs (both wherever it stands in what was
    encoded), hex, HEX, percent signs, HTML entities, and backwards."""
    raw = secret.encode("utf-8", "surrogatepass")
    percent = (quote(raw, safe=""), quote(raw), quote_plus(raw))
    yield secret
    yield from (json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    yield from (_inside_base64(raw, before, encode) for encode in _BASE64 for before in range(3))
    yield from (raw.hex(), raw.hex().upper())
    yield from percent
    yield from (re.sub("%..", lambda code: code[0].lower(), text) for text in percent)
    yield from (
        html.escape(secret),
        html.escape(secret, quote=False),
        html.escape(secret).replace("&#x27;", "&#39;"),
    )
    yield secret[::-1]


_BASE64: Final = (base64.b64encode, base64.urlsafe_b64encode)


def _inside_base64(raw: bytes, before: int, encode: Callable[[bytes], bytes]) -> str:
    """The characters that these bytes alone decide, with so many (mod 3) others before them and any behind."""
    whole = encode(bytes(before) + raw).decode()
    return whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]


class Redactor:
    """Pure: what it makes of a value depends on the value alone. What holds no secret is given back as it is."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """Values by name; an empty one is no secret. Raises `Invalid` for one that is too short to be kept out."""
        given = {name: value.strip() for name, value in secrets.items() if value.strip()}
        if short := [name for name, value in given.items() if len(value) < SHORTEST_SECRET]:
            raise Invalid(*map(_too_short, short))
        self._markers: dict[str, str] = {}
        self._numbers: dict[int, str] = {}
        for name, value in given.items():
            parts = [value, *(line for line in map(str.strip, value.splitlines()) if _is_secret_line(line))]
            for text in (text for part in parts for text in spellings(part)):
                self._markers.setdefault(text, marker(name))
            if value.isascii() and value.isdigit():
                self._numbers[int(value)] = marker(name)
        self.spellings = tuple(sorted(self._markers, key=len, reverse=True))
        """Every text that is masked, the longest first."""
        self._pattern = re.compile("|".join(map(re.escape, self.spellings))) if self.spellings else None
        self._shortest = min(map(len, self.spellings), default=SHORTEST)
        self._any_spelling = literals_finder(self.spellings)

    def named(self, text: str) -> str:
        """The text without the secrets that have a name; what only looks like one stays."""
        if self._pattern is None or len(text) < self._shortest or not self._any_spelling(text):
            return text
        return self._pattern.sub(lambda match: self._markers[match[0]], text)

    def found(self, text: str) -> list[tuple[int, int]]:
        """Where the secrets that have a name begin and end."""
        return [match.span() for match in self._pattern.finditer(text)] if self._pattern else []

    def text(self, text: str) -> str:
        """The text without the secrets that have a name, and without what looks like one."""
        if self._pattern is not None:
            text = self.named(text)
        return text if len(text) < SHORTEST else replace_shapes(text, marker)

    def value(self, value: Json) -> Json:
        """A JSON value with each text in it redacted, keys too; the same object where nothing was found."""
        return _walk(value, self.text, self._numbers)

    def named_value(self, value: Json) -> Json:
        """As `value`, but for the secrets that have a name only: for what a run gives to its user."""
        return value if self._pattern is None else _walk(value, self.named, self._numbers)

    def event(self, event: Event) -> Event:
        """The same object where nothing was found. Ids of tokens that would spell what was taken out go with it.

        Raises `RecordError` for what is nested too deep to be searched.
        """
        if type(event) is TokensArrived:
            text = self.named(event.text)
            return event if text == event.text else replace(event, text=text)
        changed: dict[str, Any] = {}
        try:
            for name in _SEARCHED[type(event)]:
                value = getattr(event, name)
                if value and (redacted := self.value(value)) is not value:
                    changed[name] = redacted
        except RecursionError:
            raise RecordError(f"cannot write a {event.type} record: it is nested too deep") from None
        if not changed:
            return event
        if type(event) in _TELLS:
            changed["redacted"] = True
            if event.type == "generation_finished" or (event.type == "prompt_rendered" and "messages" in changed):
                changed["tokens"] = []
        return replace(event, **changed)


def _too_short(name: str) -> Problem:
    return Problem(
        None,
        f"the secret {name} has less than {SHORTEST_SECRET} characters, too few to keep it out of the record",
        'use a longer one, or list it under "env" if it is none',
    )


def _is_secret_line(line: str) -> bool:
    """Of a secret of several lines each is one, but for the frame of a key."""
    return len(line) >= _SHORTEST_LINE and not line.startswith("-----")


def _walk(value: Json, mask: Callable[[str], str], numbers: Mapping[int, str]) -> Json:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        for key, item in value.items():
            if mask(key) is not key or _walk_item(key, item, mask, numbers) is not item:
                return {mask(key): _walk_item(key, item, mask, numbers) for key, item in value.items()}
        return value
    if isinstance(value, list | tuple):
        for item in value:
            if _walk(item, mask, numbers) is not item:
                return [_walk(item, mask, numbers) for item in value]
        return value
    return numbers.get(value, value) if numbers and type(value) is int else value


def _walk_item(key: str, item: Json, mask: Callable[[str], str], numbers: Mapping[int, str]) -> Json:
    """An item of a mapping, whose key may be what tells that it is a secret."""
    if isinstance(item, str) and any(sign in key for sign in KEY_SIGNS):
        told = f"{key}="
        masked = mask(told + item)
        if masked != told + item and masked.startswith(told):
            return masked.removeprefix(told)
    return _walk(item, mask, numbers)
