"""One HTTP question to the server and its answer, without ever waiting for it: the guardian has one loop."""

from __future__ import annotations

import json
import select
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANSWER_MAX = 4 << 20


class Exchange:
    """To be told whenever its socket is ready for `events`, until `go_on` says that the answer is there."""

    def __init__(self, host: str, port: int, key: str, path: str, body: Any = None) -> None:
        self.path = path
        content = b"" if body is None else json.dumps(body).encode()
        head = [
            f"{'GET' if body is None else 'POST'} {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        if key:
            head.append(f"Authorization: Bearer {key}")
        self.unsent = "\r\n".join([*head, "", ""]).encode() + content
        self.came = b""
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setblocking(False)
        self.socket.connect_ex((host, port))

    @property
    def events(self) -> int:
        return select.POLLOUT if self.unsent else select.POLLIN

    def go_on(self) -> bool:
        """Send or receive what can be; whether the answer is complete. Raises `OSError`, `ValueError`."""
        if self.unsent:
            self.unsent = self.unsent[self.socket.send(self.unsent) :]
            return False
        piece = self.socket.recv(65536)
        self.came += piece
        if len(self.came) > ANSWER_MAX:
            raise ValueError("the answer is too long")
        return not piece or self._is_complete()

    def _is_complete(self) -> bool:
        head, end, body = self.came.partition(b"\r\n\r\n")
        if not end:
            return False
        length = _header(head, b"content-length")
        return len(body) >= int(length) if length else body.endswith(b"0\r\n\r\n")

    def answer(self) -> Any:
        """The JSON of the answer, None where it is something else. Raises `ValueError` where it is no 200."""
        head, _, body = self.came.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if status != [b"200"]:
            raise ValueError(f"{self.path} gives status {b''.join(status).decode('ascii', 'replace') or 'none'}")
        if _header(head, b"transfer-encoding") == b"chunked":
            body = _joined(body)
        try:
            return json.loads(body)
        except ValueError:
            return None

    def close(self) -> None:
        self.socket.close()


def _header(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip().lower()
    return b""


def _joined(chunks: bytes) -> bytes:
    body = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        body, chunks = body + rest[:count], rest[count + 2 :] if count else b""
    return body
