"""The client of quick commands: how long it waits for a server that says nothing."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.llama import blocking, plain_http
from gptoss_flow.llama.blocking import BlockingClient, at_once
from gptoss_flow.llama.blocking_openai import BlockingOpenAi


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same patience, a hundred times as short."""
    monkeypatch.setattr(plain_http, "QUIET_S", 0.02)
    monkeypatch.setattr(blocking, "HEALTH_TIMEOUT_S", 0.05)


@contextlib.contextmanager
def suspended() -> Iterator[str]:
    """The address of a server that the system still accepts connections for, as of a suspended process."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


@contextlib.contextmanager
def busy(looks: int) -> Iterator[str]:
    """The address of a server that answers only once its health was asked for so often."""
    asked = threading.Semaphore(0)

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say(b"{}")
            asked.release()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            for _ in range(looks):
                asked.acquire()
            self._say(b'{"tokens": [7]}')

        def _say(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def refusal(client: BlockingClient) -> str:
    with contextlib.closing(client), pytest.raises(StepError) as caught:
        at_once(client.tokenize("x", special=False))
    assert caught.value.kind == "timeout"
    return caught.value.message


def test_a_server_that_hangs_is_told_of_soon() -> None:
    with suspended() as url:
        said = f"the server at {url} hangs: it gave no answer for 0.15 s; see `gptoss-flow server status`"
        assert refusal(BlockingClient(url, None)) == said


def test_a_server_that_is_busy_is_waited_for() -> None:
    with busy(looks=5) as url, contextlib.closing(BlockingClient(url, None)) as client:
        assert at_once(client.tokenize("x", special=False)) == [7]


def test_no_server_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "IDLE_S", 0.1)
    with busy(looks=10**9) as url:
        assert "sent nothing for 0.1 s" in refusal(BlockingClient(url, None))
    with suspended() as url:  # of another's server nobody knows where it tells its health
        assert "sent nothing for 0.1 s" in refusal(BlockingOpenAi(url, None, "responses", "m"))
