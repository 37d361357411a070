"""One event, one JSON object, one line: how the journal's records are written and read back.

A record is `{"seq":n,"t":seconds,"type":"step_finished",…the event's fields}` in ASCII, so that nothing in a text
can break a line. A boundary event's record ends with `"crc"`: the CRC-32 of the bytes before it. The reader is
tolerant: what a newer version wrote is passed over and counted, what is damaged is reported with its cause.
"""

from __future__ import annotations

import json
import math
import types
import typing
from binascii import crc32
from collections.abc import Callable, Set
from dataclasses import MISSING, dataclass, fields
from operator import attrgetter
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

from pydantic_core import from_json, to_json

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Event, Json, Stamped

DamageKind = Literal["torn", "crc", "broken", "shape"]
"""torn: an unfinished last line. crc: the bytes are not those that were written. broken: not a JSON object.
shape: a JSON object, but no record of ours (a field is missing or of another type)."""


class Damaged(ValueError):
    """A line that is no record: which kind of damage, and what was seen."""

    def __init__(self, kind: DamageKind, message: str) -> None:
        super().__init__(message)
        self.kind: DamageKind = kind


class UnknownType(ValueError):
    """A whole record of an event type that this version does not know; `args[0]` is the type."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is worked out once for an event class: its fields, how to read them, what types they may have."""

    cls: type[Any]
    prefix: bytes
    names: tuple[str, ...]
    values: Callable[[Any], tuple[Any, ...]]
    checks: tuple[tuple[str, tuple[type, ...] | None, bool], ...]
    """Field, the types its JSON may have (None: any), whether it must be there."""
    known: frozenset[str]
    is_boundary: bool
    """Whether every record of this class is one; an event of another class may say so itself."""


def _json_types(hint: Any) -> tuple[type, ...] | None:
    """The Python types of the JSON values that a field of this annotation is written as; None for any."""
    if hint is Any:
        return None
    origin = get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        parts = [_json_types(part) for part in get_args(hint)]
        return tuple(found for part in parts for found in part or (object,))
    if origin is Literal:
        return (str,)
    return {float: (float, int), int: (int,), str: (str,), bool: (bool,), types.NoneType: (types.NoneType,)}.get(
        hint, (origin,) if origin else None
    )


def _shape(cls: type[Any]) -> _Shape:
    hints = get_type_hints(cls)
    names = tuple(f.name for f in fields(cls))
    checks = tuple(
        (f.name, _json_types(hints[f.name]), f.default is MISSING and f.default_factory is MISSING)
        for f in fields(cls)
    )
    known = frozenset({"seq", "t", "type", "crc", *names})
    prefix = f'"type":"{cls.type}",'.encode()
    return _Shape(cls, prefix, names, attrgetter(*names), checks, known, cls.boundary is True)


_SHAPES: Final[dict[type, _Shape]] = {cls: _shape(cls) for cls in get_args(Event)}
_BY_TYPE: Final[dict[str, _Shape]] = {shape.cls.type: shape for shape in _SHAPES.values()}

_NOTHING: Final[frozenset[str]] = frozenset()
_CRC_KEY: Final = b',"crc":"'
_CRC_LENGTH: Final = len(_CRC_KEY) + 8 + len(b'"}')


def encode(stamped: Stamped) -> bytes:
    """The record of an event, newline included.

    A number that JSON does not have (NaN, infinity) is written as null. Raises `RecordError` for a value that
    cannot be written at all (nested too deep, a number of more than 4,300 digits).
    """
    shape = _SHAPES[type(stamped.event)]
    body = dict(zip(shape.names, shape.values(stamped.event), strict=True))
    try:
        encoded = to_json(body, ensure_ascii=True, inf_nan_mode="null")
    except ValueError:
        encoded = _encode_unusual(body, shape.cls.type)
    covered = b'{"seq":%d,"t":%.6f,%b%b' % (stamped.seq, stamped.time, shape.prefix, encoded[1:-1])
    if stamped.event.boundary:
        return b'%b,"crc":"%08x"}\n' % (covered, crc32(covered))
    return covered + b"}\n"


def _encode_unusual(body: dict[str, Json], event_type: str) -> bytes:
    """The slow way, for what the fast encoder refuses: half of a surrogate pair, deep nesting."""
    try:
        return json.dumps(_finite(body), allow_nan=False, separators=(",", ":")).encode("ascii")
    except (ValueError, RecursionError) as error:
        raise RecordError(f"cannot write a {event_type} record: {error}") from error


def _finite(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(line: bytes) -> tuple[Stamped, Set[str]]:
    """The event of a record (with or without its newline), and the keys that this version does not know.

    Raises `Damaged`, or `UnknownType` for a whole record of a type that a newer version has.
    """
    line = line.rstrip(b"\n")
    covered = line[:-_CRC_LENGTH]
    summed = line[len(covered) : len(covered) + len(_CRC_KEY)] == _CRC_KEY
    if summed and line[-10:-2] != b"%08x" % crc32(covered):
        raise Damaged("crc", "its bytes are not those that were written (CRC-32)")
    record = _parse(line)
    if not isinstance(record, dict):
        raise Damaged("broken", "it is not a JSON object")
    event_type = record.get("type")
    shape = _BY_TYPE.get(event_type) if isinstance(event_type, str) else None
    seq, time = record.get("seq"), record.get("t")
    if type(seq) is not int or not isinstance(time, float | int):
        raise Damaged("shape", "it lacks seq or t")
    if shape is None:
        if isinstance(event_type, str):
            raise UnknownType(event_type)
        raise Damaged("shape", "it lacks a type")
    if shape.is_boundary and not summed:
        raise Damaged("crc", f"a {event_type} record without its CRC-32")
    arguments = _arguments(record, shape)
    event = shape.cls(**arguments)
    if event.boundary and not summed:
        raise Damaged("crc", f"a {event_type} record without its CRC-32")
    unknown = record.keys() - shape.known if len(record) != len(arguments) + (4 if summed else 3) else _NOTHING
    return Stamped(seq, time, event), unknown


def _arguments(record: dict[str, Json], shape: _Shape) -> dict[str, Json]:
    arguments = {}
    for name, allowed, required in shape.checks:
        if name in record:
            value = arguments[name] = record[name]
            if allowed is not None and not isinstance(value, allowed):
                raise Damaged("shape", f"{name} is not what a {shape.cls.type} record has there")
        elif required:
            raise Damaged("shape", f"it is a {shape.cls.type} record without {name}")
    return arguments


def _parse(line: bytes) -> Json:
    try:
        return from_json(line)
    except ValueError:
        pass
    # The fast parser knows neither halves of surrogate pairs nor deep nesting.
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        if b"\0" in line:
            raise Damaged("broken", "it holds NUL bytes, as files do after a power loss") from error
        raise Damaged("broken", f"it is not JSON ({error})") from error
