"""Holds what foreign code gave back against what a tool may give: JSON values of a bounded size. Pure."""

from __future__ import annotations

import math

from gptoss_flow.events import Json

MAX_DEPTH = 64
MAX_BYTES = 16 << 20


def json_value(value: object) -> Json:
    """The value, made of plain dicts, lists, text, numbers, booleans and null; a tuple becomes a list.

    Raises `ValueError` that names what is none of these and where, or that it is too much.
    """
    room = [MAX_BYTES]
    return _plain(value, "", 0, room)


def _plain(value: object, where: str, depth: int, room: list[int]) -> Json:
    if depth > MAX_DEPTH:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    room[0] -= 4 * len(value) if isinstance(value, str) and not value.isascii() else _size(value)
    if room[0] < 0:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MiB")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, where)
    if isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 64:
            raise ValueError(f"{_place(where)} is an integer of more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_place(where)} is {value}, which JSON does not have")
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}[{i}]", depth + 1, room) for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"{_place(where)} has the key {key!r:.60}, which is not text")
        return {_text(k, where): _plain(item, f"{where}.{k}", depth + 1, room) for k, item in value.items()}
    raise ValueError(f"{_place(where)} is of the type {type(value).__name__}")


def _text(value: str, where: str) -> str:
    """What can be written down: half of a surrogate pair has no bytes in UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(value[error.start]):04X}"
        raise ValueError(
            f"{_place(where)} holds {half}, half of a character; decode with errors='replace'"
        ) from None
    return str(value)


def _size(value: object) -> int:
    return len(value) if isinstance(value, str) else 8


def _place(where: str) -> str:
    return where[:100].lstrip(".") or "it"
