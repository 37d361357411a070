"""A client for a command that is mostly start-up time: standard library only, one request at a time, no retries.

What it asks and how it reads the answers is the same as in `client`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from gptoss_flow.errors import StepError, Unavailable
from gptoss_flow.llama import request, wire
from gptoss_flow.llama.plain_http import Broken, Connection, Response
from gptoss_flow.llama.sse import EventStreamParser, TooLarge

if TYPE_CHECKING:
    from gptoss_flow.events import Json

T = TypeVar("T")

IDLE_S = 90.0
"""Between two reads: a server that is busy with a long prompt sends a comment every 30 s."""
STRIKES, HEALTH_TIMEOUT_S = 3, 5.0
"""So often and so long a server is asked for its health that sends nothing, before it is taken to hang."""
ANSWER_BYTES = 16 * 2**20
EVENT_BYTES = 32 * 2**10
SPARE_EVENTS = 64


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    raise AssertionError(f"{coroutine} waits for something")


class BlockingClient:
    """One connection to a server. Raises `Unavailable` and `StepError`, soon too where the server hangs.

    `tokenize` and `props` are coroutines, as `prompt.raw.Tokenizer` wants them, but for `at_once`.
    """

    is_llama: ClassVar[bool] = True
    """Whether it speaks llama.cpp's own API; else it is a `blocking_openai.BlockingOpenAi`."""

    def __init__(self, url: str, key: str | None) -> None:
        self._url = url
        parts = urlsplit(url)
        self._base = parts.path
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        self._host, self._port, self._tls = parts.hostname or "", port, tls
        self._connection = Connection(self._host, port, tls=tls, timeout_s=IDLE_S, is_gone=self._hangs)
        self._is_hung = False
        self._headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def props(self) -> Mapping[str, Json]:
        return wire.read_mapping(self._json("GET", "/props"))

    async def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        return wire.read_ids(
            self._json("POST", "/tokenize", request.tokenize_body(text, special=special, bos=bos))
        )

    def complete(self, tokens: Sequence[int], params: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
        """Events as they arrive, each with a text `content`; of the last one, and only that, `stop` is true."""
        body = request.completion_body(tokens, params)
        for data in self._events("/completion", body, body["n_predict"] + SPARE_EVENTS):
            if (event := wire.read_stream_data(data)) is not None:
                if not isinstance(event.get("content"), str):
                    raise wire.not_understood(data)
                yield event
                if event.get("stop") is True:
                    return
        raise _cut("the stream ended without its last event")

    def _events(self, path: str, body: Mapping[str, Json], most: int) -> Iterator[str]:
        """The data of a stream's events, `most` of them on average size."""
        bytes_left = most * EVENT_BYTES
        response = self._send("POST", path, body)
        parser = EventStreamParser()
        while piece := self._read(response.read1):
            bytes_left -= len(piece)
            if bytes_left < 0:
                raise StepError("server", "the server sends more than was asked for", retryable=False)
            try:
                yield from (each.data for each in parser.feed(piece))
            except TooLarge as error:
                raise StepError("server", str(error), retryable=False) from None

    def close(self) -> None:
        """Also from another thread: what is being waited for then ends."""
        self._connection.close()

    def _json(self, method: str, path: str, body: Mapping[str, Json] | None = None) -> Json:
        content = self._read(self._send(method, path, body).read)
        try:
            return wire.parse_json(content)
        except ValueError:
            said = wire.read_fault(content).message
            raise StepError("server", f"the answer of {path} is not JSON: {said}", retryable=False) from None

    def _send(self, method: str, path: str, body: Mapping[str, Json] | None) -> Response:
        content = None if body is None else json.dumps(body, allow_nan=False).encode()
        try:
            response = self._connection.request(method, self._base + path, content, self._headers)
        except TimeoutError:
            raise self._timeout() from None
        except (OSError, Broken) as error:
            if not_trusted := getattr(error, "verify_message", ""):  # `ssl` is not imported for its error's sake
                said = f"the certificate of {self._url} is not trusted: {not_trusted.rstrip('.')}"
                raise Unavailable(f"{said}; name its authority's file in $SSL_CERT_FILE") from None
            why = getattr(error, "strerror", None) or type(error).__name__
            raise Unavailable(
                f"no server answers at {self._url} ({why}); start it, or change the address"
            ) from None
        if response.status != 200:
            raise self._refusal(response.status, wire.read_fault(self._read(response.read)))
        return response

    def _read(self, read: Callable[[int], bytes]) -> bytes:
        try:
            return read(ANSWER_BYTES)
        except TimeoutError:
            raise self._timeout() from None
        except (OSError, Broken) as error:
            raise _cut(wire.excerpt(str(error))) from None

    def _hangs(self) -> bool:
        """Nothing came: whether the server gives no answer at all, however often it is asked."""
        if not self.is_llama:
            return False
        self._is_hung = not any(self._answers() for _ in range(STRIKES))
        return self._is_hung

    def _answers(self) -> bool:
        """What it says does not count; that it refuses the connection is an answer too."""
        probe = Connection(self._host, self._port, tls=self._tls, timeout_s=HEALTH_TIMEOUT_S)
        try:
            probe.request("GET", self._base + "/health", None, {})
        except TimeoutError:
            return False
        except (OSError, Broken):
            return True
        finally:
            probe.close()
        return True

    def _timeout(self) -> StepError:
        what = (
            f"hangs: it gave no answer for {STRIKES * HEALTH_TIMEOUT_S:g} s"
            if self._is_hung
            else (f"sent nothing for {IDLE_S:g} s")
        )
        return StepError("timeout", f"the server at {self._url} {what}; see `gptoss-flow server status`")

    def _refusal(self, status: int, fault: wire.Fault) -> Unavailable | StepError:
        if status in (401, 403):
            return Unavailable(f"the server at {self._url} does not accept the key; name a profile that has it")
        if fault.is_loading:
            return Unavailable(f"the server at {self._url} is still loading its model; try again in a moment")
        hint = "; is it llama.cpp's?" if status in (404, 405, 501) else ""
        said = f"the server at {self._url} answered {status}: {fault.message}{hint}"
        return wire.context_overflow(fault) or StepError("server", said, retryable=False)


def _cut(why: str) -> StepError:
    return StepError("server", f"the answer broke off: {why}; see `gptoss-flow server status`")
