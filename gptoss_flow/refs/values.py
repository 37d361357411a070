"""Plain data as expressions see it: looked up by key, named in errors, written as text, never too much."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gptoss_flow.events import Json
from gptoss_flow.refs.errors import EvaluationError
from gptoss_flow.words import suggest

MAX_TEXT: Final = 4 * 2**20
"""The longest text that a template may make, in bytes of UTF-8."""
MAX_ITEMS: Final = 1_000_000
"""The most items of a list, and the most parts in all of a nested value, that an expression may make."""
MAX_DEPTH: Final = 100
"""How deeply a value that an expression makes may be nested."""
MAX_INTEGER: Final = 2**63 - 1

Key = str | int


class Undefined:
    """The value of a name, key or index that is not there; only `default` and `is defined` ever see it."""

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED: Final = Undefined()


# --- words ---------------------------------------------------------------------------------------------------


def kind_of(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "a mapping"
        case _:
            return "a list"


def spell(root: str, keys: Iterable[Key]) -> str:
    """A path as an author writes it: `steps.tree.output[0]["a b"]`."""
    parts = [root]
    for key in keys:
        if isinstance(key, int):
            parts.append(f"[{key}]")
        else:
            parts.append(f".{key}" if key.isidentifier() else f"[{json.dumps(key, ensure_ascii=False)}]")
    return "".join(parts)


def missing(root: str, keys: Sequence[Key], names: Mapping[str, Any]) -> EvaluationError:
    """The error that says where a path ends, and what exists there."""
    if root not in names:
        return EvaluationError(f'there is no "{root}" here', suggest(root, names))
    value: Json = names[root]
    for depth, key in enumerate(keys):
        inner = descend(value, key)
        if inner is UNDEFINED:
            return _nothing_at(spell(root, keys[:depth]), value, key)
        value = inner
    raise AssertionError("nothing is missing")


def nothing_at(value: Json, key: Json) -> EvaluationError:
    """The error for a key or index that a computed value does not have."""
    return _nothing_at("the value", value, key)


def _nothing_at(name: str, value: Json, key: Json) -> EvaluationError:
    shown = json.dumps(key, ensure_ascii=False)[:80]
    match value:
        case {"outcome": "skipped"} if key == "output":
            return EvaluationError(f"{name} was skipped and has no output", "give one with default(...)")
        case Mapping() if name == "env" and isinstance(key, str):
            hint = f"set it, or write env.{key} | default(...)"
            return EvaluationError(f"the environment variable {key[:80]} is not set", hint)
        case Mapping() if not value:
            return EvaluationError(f"{name} has no {shown}", "it is empty")
        case Mapping():
            keys = [str(k)[:40] for k in list(value)[:12]]
            hint = suggest(str(key), keys)
            if hint.startswith("allowed"):
                hint = f"it has: {', '.join(keys)}{', …' if len(value) > len(keys) else ''}"
            return EvaluationError(f"{name} has no {shown}", hint)
        case str() | list() | tuple() if isinstance(key, int):
            return EvaluationError(f"{name} has no [{shown}]", f"its length is {len(value)}")
        case _:
            hint = "values have no methods" if isinstance(key, str) else ""
            return EvaluationError(f"{name} is {kind_of(value)} and has no {shown}", hint)


# --- look-up and text ------------------------------------------------------------------------------------------


def descend(value: Json, key: Json) -> Json:
    """The key of a mapping, or the index of a list or text; else undefined. Never a Python attribute."""
    if isinstance(value, Mapping):
        return value.get(key, UNDEFINED) if isinstance(key, str) else UNDEFINED
    if isinstance(value, list | tuple | str) and isinstance(key, int) and -len(value) <= key < len(value):
        return value[key]
    return UNDEFINED


def key_of(part: str) -> Key:
    """A part of a dotted path: digits are an index."""
    return int(part) if part.isdecimal() and len(part) < 10 else part


def to_text(value: Json) -> str:
    """Text as it is, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return to_json(value)


def to_json(value: Json, indent: int | None = None) -> str:
    """JSON without escapes for HTML or for letters outside ASCII."""
    weigh(value, MAX_TEXT)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, default=dict)
    except (TypeError, ValueError, RecursionError) as error:
        raise EvaluationError(f"{kind_of(value)} cannot be written as JSON: {error}") from None
    fit(len(text))
    return text


def weigh(value: Json, most_characters: int = 64 * 2**20) -> int:
    """How much is in a value, as work; raises if it is too much or nested too deeply.

    Lists can share their items (`[a, a]`), so that a small one can be a huge text: count as a writer would.
    """
    nodes, characters = 0, 0
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        deeper: list[Json] = []
        for item in level:
            if isinstance(item, str):
                characters += len(item)
            elif isinstance(item, dict):
                characters += sum(map(len, item))
                deeper += item.values()
            elif isinstance(item, list | tuple):
                deeper += item
            else:
                continue
            if characters > most_characters:
                raise too_long()
            fit_items(nodes + len(deeper))
        nodes += len(level)
        if not deeper:
            return nodes + (characters >> 4)
        level = deeper
    raise EvaluationError(f"a value is nested more than {MAX_DEPTH} deep")


def fit(length: int) -> None:
    """Refuse a text that would be this long, before it is made."""
    if length > MAX_TEXT:
        raise too_long()


def fit_items(count: int) -> None:
    if count > MAX_ITEMS:
        raise EvaluationError(f"a value would have more than {MAX_ITEMS:,} items")


def fit_output(text: str) -> str:
    if len(text) * 4 > MAX_TEXT and len(text.encode(errors="surrogatepass")) > MAX_TEXT:
        raise too_long()
    return text


def too_long() -> EvaluationError:
    return EvaluationError("the template makes more than 4 MiB of text")


def bounded(number: int | float) -> int | float:
    if isinstance(number, int):
        if abs(number) > MAX_INTEGER:
            raise EvaluationError("an integer would be beyond 64 bits")
    elif isinstance(number, complex) or not math.isfinite(number):
        raise EvaluationError("a number would not be real and finite")
    return number


def iterate(value: Json) -> list[Json]:
    """What a loop or a list filter goes over: a list's items, a mapping's keys, a text's characters."""
    if isinstance(value, list):
        return value
    if isinstance(value, tuple | Mapping):
        return list(value)
    if isinstance(value, str):
        fit_items(len(value))
        return list(value)
    raise EvaluationError(f"cannot go over {kind_of(value)}: a list or a mapping is needed")
