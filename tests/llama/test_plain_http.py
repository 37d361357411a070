"""The small HTTP client over real sockets: how bodies end, what is broken, when a connection is used again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from gptoss_flow.llama.plain_http import Broken, Connection

Answer = Callable[..., Connection]
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def answering() -> Iterator[Answer]:
    """`answering(b"…", b"…")`: a connection whose requests are answered with these bytes, then closed on."""
    opened: list[Connection] = []
    threads: list[threading.Thread] = []

    def make(*answers: bytes) -> Connection:
        listener = socket.create_server(("127.0.0.1", 0))

        def serve() -> None:
            left = list(answers)
            with listener:
                while left:
                    peer, _ = listener.accept()
                    with peer:
                        while left and peer.recv(65536):
                            peer.sendall(answer := left.pop(0))
                            if b"close" in answer or (b"chunked" not in answer and b"Length" not in answer):
                                break

        opened.append(Connection("127.0.0.1", listener.getsockname()[1], tls=False, timeout_s=5))
        threads.append(thread := threading.Thread(target=serve, daemon=True))
        thread.start()
        return opened[-1]

    yield make
    for connection in opened:
        connection.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive(), "it waits for a request that never came"


def body_of(connection: Connection, path: str = "/") -> tuple[int, bytes]:
    response = connection.request("GET", path, None, {})
    return response.status, response.read(1000)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (OK + b"content-length:5\n\nhello", b"hello"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nA: b\r\n\r\n", b"hello"),
        (OK + b"Connection: close\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (OK + b"Content-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", b"x"),
    ],
)
def test_a_body_ends_where_its_head_says(answering: Answer, answer: bytes, body: bytes) -> None:
    assert body_of(answering(answer)) == (200, body)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        OK + b"Content-Length: 9\r\nConnection: close\r\n\r\nhello",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhel",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n-5\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhello\r\n",
        OK + b"x: close\r\n" * 300,
        OK + b"x: close" + b"x" * 70_000,
        OK,
        b"",
    ],
)
def test_what_is_no_whole_answer_is_broken(answering: Answer, answer: bytes) -> None:
    with pytest.raises((Broken, ConnectionError)):
        body_of(answering(answer))


def test_a_connection_is_used_again_and_opened_again_where_it_was_closed(answering: Answer) -> None:
    kept, closed = OK + b"Content-Length: 1\r\n\r\n", OK + b"Content-Length: 1\r\nConnection: close\r\n\r\n"
    connection = answering(kept + b"1", closed + b"2", kept + b"3")
    assert body_of(connection) == (200, b"1")
    first = connection.sock
    assert body_of(connection) == (200, b"2") and connection.sock is first
    assert body_of(connection) == (200, b"3") and connection.sock is not first


def test_a_header_can_not_be_split(answering: Answer) -> None:
    with pytest.raises(Broken, match="line breaks"):
        answering().request("GET", "/", None, {"Authorization": "Bearer x\r\nEvil: 1"})


def test_pieces_are_given_as_they_come(answering: Answer) -> None:
    chunks = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"
    response = answering(OK + chunks).request("GET", "/", None, {})
    assert [response.read1(100) for _ in range(4)] == [b"ab", b"cde", b"", b""]
    assert response.is_over and response.keeps_open
