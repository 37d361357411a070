"""HTTP/1.1 over one socket for a command that is mostly start-up time: `http.client` takes 40 ms to import.

Only what llama.cpp's server and a proxy before it need: no redirects, no compression, no cookies.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

QUIET_S = 2.0
IsGone = Callable[[], bool]
"""Asked after each `QUIET_S` in which nothing came: whether to wait no longer."""

LINE_BYTES = 64 * 2**10
LINES = 200
"""Of a head or of a chunked body's trailer."""
PIECE_BYTES = 2**16


class Broken(Exception):
    """What came is no answer in HTTP, or ends before its end."""


class _Incoming(io.RawIOBase):
    """What comes through a socket. Raises `TimeoutError` after its timeout, or when `is_gone` says so before."""

    def __init__(self, sock: socket.socket, is_gone: IsGone) -> None:
        self._sock = sock
        self._timeout_s: float = sock.gettimeout() or 0
        self._is_gone = is_gone
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        ends = time.monotonic() + self._timeout_s
        while not self._has_come(min(QUIET_S, max(0.0, ends - time.monotonic()))):
            if (time.monotonic() >= ends or self._is_gone()) and not self._has_come(0):
                raise TimeoutError
        return self._sock.recv_into(buffer)

    def _has_come(self, wait_s: float) -> bool:
        of_tls = getattr(self._sock, "pending", None)  # what is decrypted already no poll can see
        return (of_tls is not None and of_tls() > 0) or bool(self._poll.poll(wait_s * 1000))


class Response:
    """An answer whose head is read. `read` and `read1` give `b""` at its end, and raise `Broken`, `OSError`."""

    def __init__(self, sock: socket.socket, is_gone: IsGone) -> None:
        self._file = io.BufferedReader(_Incoming(sock, is_gone))
        version, self.status = self._status_line()
        headers = self._headers()
        connection = headers.get("connection", "").lower()
        self._is_chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self._left = None if self._is_chunked else _size(headers.get("content-length"), 10)
        """How many bytes are to come of the body, or of this chunk; None where that is not said."""
        if self.status in (204, 304):
            self._is_chunked, self._left = False, 0
        self._is_over = self._left == 0 and not self._is_chunked
        self.keeps_open = version != "HTTP/1.0" and "close" not in connection
        """Whether the connection can be used again, once the body is read."""

    def read1(self, size: int) -> bytes:
        """Some bytes as soon as there are any."""
        if self._is_chunked and not self._left:
            self._next_chunk()
        if self._is_over:
            return b""
        data = self._file.read1(size if self._left is None else min(size, self._left))
        if self._left is None:
            self._is_over, self.keeps_open = not data, False
            return data
        if not data:
            raise Broken("it ended too early")
        self._left -= len(data)
        if self._left == 0 and not self._is_chunked:
            self._is_over = True
        elif self._left == 0:
            self._expect_end_of_chunk()
        return data

    def read(self, size: int) -> bytes:
        """All of the body, or so many bytes of it."""
        pieces = []
        while size > 0 and (piece := self.read1(min(size, PIECE_BYTES))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    @property
    def is_over(self) -> bool:
        """Whether all of it has been read, as far as is known without waiting."""
        return self._is_over

    def close(self) -> None:
        self._file.close()

    def _status_line(self) -> tuple[str, int]:
        version, _, rest = self._line().partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or not (code.isascii() and code.isdigit()):
            raise Broken("it is not HTTP")
        if code != "100":
            return version, int(code)
        self._headers()
        return self._status_line()

    def _headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(LINES):
            line = self._line()
            if not line:
                return found
            name, _, value = line.partition(":")
            found[name.strip().lower()] = value.strip()
        raise Broken("it has too many headers")

    def _next_chunk(self) -> None:
        if self._is_over:
            return
        size = _size(self._line().partition(";")[0], 16)
        if size is None:
            raise Broken("a chunk has no size")
        self._left = size
        if size == 0:
            self._headers()
            self._is_over = True

    def _expect_end_of_chunk(self) -> None:
        if self._line():
            raise Broken("a chunk is longer than it says")

    def _line(self) -> str:
        line = self._file.readline(LINE_BYTES)
        if not line.endswith(b"\n"):
            raise Broken("it ended too early" if len(line) < LINE_BYTES else "it has too long a line")
        return line.rstrip(b"\r\n").decode("latin-1")


class Connection:
    """One connection, opened when it is needed and again where the other side has closed it."""

    def __init__(
        self, host: str, port: int, *, tls: bool, timeout_s: float, is_gone: IsGone = lambda: False
    ) -> None:
        """`timeout_s`: for how long nothing may come. `is_gone` may end the wait before."""
        self._host = host
        self._port = port
        self._tls = tls
        self._timeout_s = timeout_s
        self._is_gone = is_gone
        self._response: Response | None = None
        self.sock: socket.socket | None = None

    def request(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Response:
        """Send it and read the answer's head. Raises `OSError`, `Broken`."""
        if self._response is not None and not (self._response.is_over and self._response.keeps_open):
            self.close()
        head = [f"{method} {path} HTTP/1.1", f"Host: {_authority(self._host, self._port)}"]
        head += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            head.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in head):
            raise Broken("a header may not have line breaks")
        data = "\r\n".join([*head, "", ""]).encode("latin-1", "replace") + (body or b"")
        is_new = self.sock is None
        try:
            return self._exchange(data)
        except (Broken, ConnectionError):
            self.close()
            if is_new:
                raise
        # An idle connection may be closed by the server at any moment; nothing of an answer came.
        return self._exchange(data)

    def _exchange(self, data: bytes) -> Response:
        if self.sock is None:
            self.sock = self._connect()
        self.sock.sendall(data)
        self._response = Response(self.sock, self._is_gone)
        return self._response

    def _connect(self) -> socket.socket:
        sock = socket.create_connection((self._host, self._port), self._timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._tls:
            return sock
        import ssl

        return ssl.create_default_context().wrap_socket(sock, server_hostname=self._host)

    def close(self) -> None:
        """Also from another thread: what is being waited for then ends."""
        sock, self.sock = self.sock, None
        response, self._response = self._response, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        if response is not None:
            with contextlib.suppress(OSError, ValueError):
                response.close()


def _size(text: str | None, base: int) -> int | None:
    """A size that somebody says; None where it is none."""
    digits = "" if text is None else text.strip()
    if not digits or not digits.isascii() or not digits.isalnum():
        return None
    try:
        return int(digits, base)
    except ValueError:
        return None


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
