"""Reads the header of a GGUF file: what its metadata says, and whether the file is whole.

Only the header is read, in bounded time and memory: files that are anything else end in `BadModelFile`.
Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Cause = Literal["missing", "unreadable", "directory", "empty", "not_gguf", "truncated"]

_SIZES = (1 << 23, 1 << 26)
"""How much of a file is read, in bytes: more only where less did not hold the header (a vocabulary is ~10 MB)."""
_MAX_KEYS, _MAX_TENSORS, _MAX_DIMENSIONS = 1 << 16, 1 << 20, 8
_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_CODES = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_KEY_BYTES, _MAX_TEXT_BYTES, _MAX_NUMBERS = 128, 1024, 4096
"""What is kept of the metadata: keys, texts and arrays of numbers up to these. A vocabulary is only counted."""
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""ggml's tensor types: elements and bytes of a block. A newer type only makes the check for cuts less exact."""


class BadModelFile(Exception):
    """A file that cannot be a model: `cause` and a sentence that names the file."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause: Cause = cause


@dataclass(frozen=True, slots=True)
class Omitted:
    """A value that was too long to keep."""

    length: int
    """Elements of an array, bytes of a text."""


Value = int | float | str | tuple[int | float, ...] | Omitted


@dataclass(frozen=True, slots=True)
class GgufHeader:
    architecture: str
    """`general.architecture`: llama, gpt-oss, …; empty where the file does not say (a later part of a model)."""
    size_bytes: int
    """Of the file."""
    context_tokens: int | None = None
    """How long a context the model was trained for, where the file says."""
    parameters: int = field(default=0, compare=False)
    """Elements of all tensors."""
    weights_bytes: int = field(default=0, compare=False)
    """Of all tensors."""
    metadata: Mapping[str, Value] = field(default_factory=dict, compare=False, repr=False)
    """As the file has it, unchecked: text may hold anything."""


def read_header(path: Path) -> GgufHeader:
    """The header of a whole GGUF file. Raises `BadModelFile`; reads at most 64 MiB."""
    try:
        if path.is_dir():
            raise BadModelFile("directory", f"{path} is a folder, not a model file")
        if not path.is_file():
            raise BadModelFile(
                "missing", f"{path} does not exist" if not path.exists() else f"{path} is not a file"
            )
        with path.open("rb") as file:
            size = file.seek(0, 2)
            for limit in _SIZES:
                file.seek(0)
                try:
                    return _parse(file.read(min(limit, size)), path, size)
                except (struct.error, OverflowError):  # a length that points behind what was read
                    if limit >= size:
                        raise BadModelFile("truncated", f"{path} is cut off in its header") from None
    except OSError as error:
        raise BadModelFile("unreadable", f"{path} cannot be read: {error.strerror or error}") from None
    raise BadModelFile("not_gguf", f"{path} has a header of more than 64 MiB")


def _parse(head: bytes, path: Path, size: int) -> GgufHeader:
    if not size:
        raise BadModelFile("empty", f"{path} is empty")
    if head[:4] != b"GGUF":
        raise BadModelFile("not_gguf", f"{path} is not a GGUF file")
    version, tensors, keys = struct.unpack_from("<IQQ", head, 4)
    if version not in (2, 3) or keys > _MAX_KEYS or tensors > _MAX_TENSORS:
        raise BadModelFile("not_gguf", f"{path} is not a GGUF file of version 2 or 3 that llama.cpp can read")
    at = 24
    metadata: dict[str, Value] = {}
    for _ in range(keys):
        key, at = string_at(head, at)
        (kind,) = struct.unpack_from("<I", head, at)
        value, at = _value(head, at + 4, kind, path)
        if len(key) <= _MAX_KEY_BYTES:
            metadata[key.decode("utf-8", "replace")] = value
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        raise BadModelFile("not_gguf", f"{path} is damaged: its alignment is {alignment!r:.40}")
    needed = parameters = 0
    for _ in range(tensors):
        _, at = string_at(head, at)
        (dimensions,) = struct.unpack_from("<I", head, at)
        if dimensions > _MAX_DIMENSIONS:
            raise BadModelFile("not_gguf", f"{path} is damaged: a tensor has {dimensions} dimensions")
        shape = struct.unpack_from(f"<{dimensions}Q", head, at + 4)
        kind, offset = struct.unpack_from("<IQ", head, at + 4 + 8 * dimensions)
        at += 16 + 8 * dimensions
        elements = 1
        for extent in shape:
            elements *= extent
        parameters += elements
        block, block_bytes = _BLOCKS.get(kind, (1, 0))
        needed = max(needed, offset + elements // block * block_bytes)
    whole = (at + alignment - 1) // alignment * alignment + needed if tensors else at
    if size < whole:
        raise BadModelFile("truncated", f"{path} is cut off: {size:,} of {whole:,} bytes are there")
    named = metadata.get("general.architecture")
    architecture = named[:64] if isinstance(named, str) else ""
    context = metadata.get(f"{architecture}.context_length")
    return GgufHeader(
        architecture=architecture,
        size_bytes=size,
        context_tokens=context if isinstance(context, int) else None,
        parameters=parameters,
        weights_bytes=needed,
        metadata=metadata,
    )


def string_at(head: bytes, at: int) -> tuple[bytes, int]:
    """A string of the layout, and where it ends. Raises `struct.error` where that is behind what was read."""
    (length,) = struct.unpack_from("<Q", head, at)
    end = at + 8 + length
    if end > len(head):
        raise struct.error
    return head[at + 8 : end], end


def skip_value(head: bytes, at: int, kind: int, path: Path) -> int:
    """Where a value of this type ends. Raises as `read_header` does, and `struct.error`."""
    return _value(head, at, kind, path)[1]


def _value(head: bytes, at: int, kind: int, path: Path) -> tuple[Value, int]:
    if kind == _STRING:
        text, at = string_at(head, at)
        return Omitted(len(text)) if len(text) > _MAX_TEXT_BYTES else text.decode("utf-8", "replace"), at
    if kind in _FIXED:
        return struct.unpack_from("<" + _CODES[kind], head, at)[0], at + _FIXED[kind]
    if kind != _ARRAY:
        raise BadModelFile("not_gguf", f"{path} is damaged: a value has the unknown type {kind}")
    kind, count = struct.unpack_from("<IQ", head, at)
    at += 12
    if kind in _FIXED:
        numbers = struct.unpack_from(f"<{count}{_CODES[kind]}", head, at) if count <= _MAX_NUMBERS else None
        return Omitted(count) if numbers is None else numbers, at + _FIXED[kind] * count
    if kind != _STRING:
        raise BadModelFile("not_gguf", f"{path} is damaged: an array has the type {kind}")
    length = struct.Struct("<Q").unpack_from
    for _ in range(count):
        at += 8 + length(head, at)[0]
    return Omitted(count), at
