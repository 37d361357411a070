"""The tokens that a GGUF file lists, all of them: its header's reader only counts them."""

from __future__ import annotations

import struct
from pathlib import Path

from gptoss_flow.server.gguf_header import BadModelFile, skip_value, string_at

KEY = b"tokenizer.ggml.tokens"
_MOST = 1 << 26
"""Bytes of a header that are read."""


def read_tokens(path: Path) -> list[str]:
    """The model's vocabulary in the order of its ids; empty where it lists none. Raises `BadModelFile`."""
    try:
        with path.open("rb") as file:
            head = file.read(_MOST)
    except OSError as error:
        raise BadModelFile("unreadable", f"{path} cannot be read: {error.strerror or error}") from None
    try:
        return _tokens(head, path)
    except (struct.error, OverflowError):
        raise BadModelFile("truncated", f"{path} is cut off in its header") from None


def _tokens(head: bytes, path: Path) -> list[str]:
    if head[:4] != b"GGUF":
        raise BadModelFile("not_gguf", f"{path} is not a GGUF file")
    (keys,) = struct.unpack_from("<Q", head, 16)
    at = 24
    for _ in range(keys):
        key, at = string_at(head, at)
        (kind,) = struct.unpack_from("<I", head, at)
        if key != KEY:
            at = skip_value(head, at + 4, kind, path)
            continue
        of, count = struct.unpack_from("<IQ", head, at + 4)
        if (kind, of) != (9, 8):
            return []
        tokens, at = [], at + 16
        for _ in range(count):
            token, at = string_at(head, at)
            tokens.append(token.decode("utf-8", "replace"))
        return tokens
    return []
