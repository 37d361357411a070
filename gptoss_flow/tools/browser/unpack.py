"""Unpacks a body piece by piece, and stops at its limit: a small bomb never becomes a large text in memory."""

from __future__ import annotations

import zlib

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser.urls import Url, shown
from gptoss_flow.tools.workspace import refusal

_GZIP, _ZLIB, _RAW = 31, 15, -15
_GZIP_BEGIN = 0x1F
_MAX_MEMBERS = 100
_PACKED = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class Unpacked:
    """A body that comes in pieces. Raises `StepError` where it grows beyond `limit` bytes, packed or unpacked."""

    def __init__(self, encoding: str, url: Url, limit: int) -> None:
        self._url, self._limit = url, limit
        self._came, self._size, self._pieces = 0, 0, list[bytes]()
        name = encoding.strip().lower()
        if name not in ("", "identity", *_PACKED):
            # Brotli and zstd are not asked for; what is packed twice is packed to harm.
            raise refusal(f'{shown(url)} is packed as "{one_line(name[:60])}", which was not asked for')
        self._window = _PACKED.get(name, 0)
        self._unpacker = zlib.decompressobj(self._window) if self._window else None
        self._is_first, self._members = True, 1

    def feed(self, piece: bytes) -> None:
        self._came += len(piece)
        if self._came > self._limit:
            raise self._too_large()
        if self._unpacker is None:
            self._add(piece)
            return
        while piece:
            if self._unpacker.eof:
                if self._window != _GZIP or piece[0] != _GZIP_BEGIN:
                    return
                self._members += 1  # a gzip file may go on with another
                if self._members > _MAX_MEMBERS:
                    raise refusal(f"{shown(self._url)} is packed in more than {_MAX_MEMBERS} pieces")
                self._unpacker = zlib.decompressobj(_GZIP)
            self._add(self._unpack(piece))
            piece = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail
            self._is_first = False

    def whole(self) -> bytes:
        """All of it, once the last piece was fed."""
        if self._unpacker is not None and self._came and not self._unpacker.eof:
            raise StepError("tool", f"{shown(self._url)} ended before its packed body did")
        return b"".join(self._pieces)

    def _unpack(self, piece: bytes) -> bytes:
        assert self._unpacker is not None
        room = self._limit - self._size + 1
        try:
            return self._unpacker.decompress(piece, room)
        except zlib.error:
            if self._is_first and self._window == _ZLIB:  # some servers send deflate without its frame
                self._unpacker, self._window = zlib.decompressobj(_RAW), _RAW
                return self._unpack(piece)
            raise refusal(f"{shown(self._url)} has a body that cannot be unpacked") from None

    def _add(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            raise self._too_large()
        self._pieces.append(piece)

    def _too_large(self) -> StepError:
        return refusal(f"{shown(self._url)} has more than {self._limit >> 20} MiB, packed or unpacked")
