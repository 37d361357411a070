"""One request with all that bounds it: the guard at each redirect, bytes packed and unpacked, time, types."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace

import httpcore

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser.dial import Network, Pinned
from gptoss_flow.tools.browser.hosts import Reach
from gptoss_flow.tools.browser.unpack import Unpacked
from gptoss_flow.tools.browser.urls import Url, join, refused, shown
from gptoss_flow.tools.workspace import refusal

_MOVED = (301, 302, 303, 307, 308)
_NO_BODY = (204, 205, 304)
OURS = {
    "User-Agent": "gptoss-flow",
    "Accept": "text/html, text/plain, application/json;q=0.9, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "Connection": "close",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    redirects: int = 5
    """How many are followed; with 0 the answer that sends us on is the answer."""
    bytes: int = 8 << 20
    """Of a body, as it comes and unpacked alike."""
    connect_s: float = 5.0
    read_s: float = 15.0
    """Between two pieces of an answer."""
    total_s: float = 40.0


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    url: Url
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent to this site only: a redirect to another one goes without them."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer. `headers` by their names in lower case."""

    url: Url
    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    head: Head
    body: bytes


Judge = Callable[[Head], None]
"""Looks at an answer before its body is read. Raises `StepError` for one that is not wanted."""


async def fetch(request: Request, reach: Reach, network: Network, judge: Judge, limits: Limits = LIMITS) -> Answer:
    """Ask, and follow redirects of GET and HEAD. Raises `StepError`."""
    try:
        async with asyncio.timeout(limits.total_s):
            for _ in range(limits.redirects + 1):
                answer = await _asked(request, reach, network, judge, limits)
                if isinstance(answer, Answer):
                    return answer
                request = _moved(request, answer)
    except TimeoutError:
        said = f"{shown(request.url)} took longer than {limits.total_s:g} s"
        raise StepError("tool", said, unsure=True) from None
    raise refusal(
        f"{shown(request.url)} would be redirect {limits.redirects + 1}; at most {limits.redirects} are followed"
    )


def _moved(request: Request, answer: Head) -> Request:
    location = answer.headers["location"].encode("latin-1")
    try:
        url = join(request.url, location.decode())
    except UnicodeDecodeError:
        url = join(request.url, location.decode("latin-1"))
    if request.url.scheme == "https" and url.scheme == "http":
        raise refused(url, f"it is a redirect from https ({shown(request.url)}) down to http")
    return replace(request, url=url, headers=request.headers if url.origin == request.url.origin else {})


async def _asked(request: Request, reach: Reach, network: Network, judge: Judge, limits: Limits) -> Answer | Head:
    """The answer of one site, or the head of one that sends us on."""
    url = request.url
    where = reach.admit(url)
    tls = network.tls() if url.scheme == "https" else None
    try:
        async with (
            aclosing(Pinned(network, url, where)) as backend,
            httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=backend) as pool,
            pool.stream(
                request.method,
                httpcore.URL(
                    scheme=url.scheme.encode(),
                    host=url.site.host.encode(),
                    port=url.site.port,
                    target=url.target.encode(),
                ),
                headers=_headers(request),
                content=request.body or None,
                extensions={
                    "timeout": dict.fromkeys(("read", "write"), limits.read_s) | {"connect": limits.connect_s}
                },
            ) as response,
        ):
            head = Head(url, response.status, _joined(response.headers))
            if limits.redirects and _sends_on(head, request.method):
                return head
            with answered():
                judge(head)
                unpacked = Unpacked(head.headers.get("content-encoding", ""), url, limits.bytes)
                if request.method != "HEAD" and response.status not in _NO_BODY:
                    async for piece in response.aiter_stream():
                        unpacked.feed(piece)
                    return Answer(head, unpacked.whole())
                return Answer(head, b"")
    except httpcore.TimeoutException as failure:
        is_unasked = isinstance(failure, httpcore.ConnectTimeout)
        what, limit_s = ("no connection", limits.connect_s) if is_unasked else ("no answer", limits.read_s)
        raise StepError("tool", f"{shown(url)}: {what} for {limit_s:g} s", unsure=not is_unasked) from None
    except (httpcore.NetworkError, httpcore.ProtocolError) as failure:
        said = one_line(str(failure)) or type(failure).__name__
        is_unasked = isinstance(failure, httpcore.ConnectError)
        raise StepError("tool", f"{shown(url)}: {said[:300]}", unsure=not is_unasked) from None


@contextmanager
def answered() -> Iterator[None]:
    """What is wrong in here is wrong with an answer: what was asked for may have been done all the same."""
    try:
        yield
    except StepError as failure:
        failure.unsure = True
        raise


def _sends_on(head: Head, method: str) -> bool:
    return head.status in _MOVED and "location" in head.headers and method in ("GET", "HEAD")


def _headers(request: Request) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name in request.headers}
    ours = {name: value for name, value in OURS.items() if name.lower() not in given}
    length = (
        {"Content-Length": str(len(request.body))}
        if request.body or request.method in ("POST", "PUT", "PATCH")
        else {}
    )
    pairs = {"Host": request.url.authority, **ours, **request.headers, **length}
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in pairs.items()]


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        # A second address to go to is a lie about the first: the first one counts, as in browsers.
        joined[name] = (
            value if name not in joined else joined[name] if name == "location" else f"{joined[name]}, {value}"
        )
    return joined
