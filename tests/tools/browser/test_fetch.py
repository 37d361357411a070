"""Requests: what is sent, what bounds an answer, and what hostile servers get."""

from __future__ import annotations

import asyncio
import gc
import gzip
import itertools
import subprocess
import time
import zlib
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.tools.browser.fetch import Answer, Limits, Request, fetch
from gptoss_flow.tools.browser.hosts import Reach
from gptoss_flow.tools.browser.text import judge
from gptoss_flow.tools.browser.urls import parse_url
from tests.conftest import need
from tests.tools.browser.web import PUBLIC, Serve, Web, moved, said, web

pytestmark = pytest.mark.anyio
MIB = 1 << 20
HASTY = Limits(bytes=MIB, connect_s=1.0, read_s=0.5, total_s=1.5)
PATIENT = Limits(bytes=MIB)


async def fetched(here: Web, url: str = "http://example.org/", limits: Limits = PATIENT) -> Answer:
    return await fetch(Request(url=parse_url(url)), Reach(rest=True), here.network, judge, limits)


async def refused(here: Web, url: str = "http://example.org/", limits: Limits = PATIENT) -> str:
    with pytest.raises(StepError) as failure:
        await fetched(here, url, limits)
    return failure.value.message


async def test_a_request_says_little_and_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the environment, no cookie, no referrer."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    cookie = said("x", set_cookie="a=b") + b""
    async with web({"/": moved("/next"), "/next": cookie, "/x?a=%C3%A9%20b": said("y")}) as here:
        await fetched(here)
        await fetched(here, "http://example.org/x?a=é b#part")
        assert here.asked[-1].decode() == (
            "GET /x?a=%C3%A9%20b HTTP/1.1\r\nHost: example.org\r\nUser-Agent: gptoss-flow\r\n"
            "Accept: text/html, text/plain, application/json;q=0.9, */*;q=0.5\r\n"
            "Accept-Encoding: gzip, deflate\r\nConnection: close\r\n\r\n"
        )
        assert {address for address, _ in here.dialled} == {PUBLIC}


@pytest.mark.parametrize("packed", [gzip.compress, zlib.compress, lambda data: zlib.compress(data)[2:-4]])
async def test_a_packed_body_is_unpacked(packed: object) -> None:
    assert callable(packed)
    text = b"some text " * 5000
    kind = "gzip" if packed is gzip.compress else "deflate"
    async with web({"/": said(packed(text), content_encoding=kind)}) as here:
        assert (await fetched(here)).body == text
    if kind == "gzip":
        twice = packed(text) + packed(text) + b"\0trailing"
        async with web({"/": said(twice, content_encoding=kind)}) as here:
            assert (await fetched(here)).body == text * 2


def bombs() -> list[tuple[str, bytes, str]]:
    zeros = gzip.compress(bytes(50 * MIB), mtime=0)
    return [
        ("gzip", zeros, "has more than 1 MiB, packed or unpacked"),
        ("deflate", zlib.compress(bytes(50 * MIB)), "has more than 1 MiB"),
        (
            "gzip",
            b"".join(itertools.repeat(gzip.compress(b"", mtime=0), 5000)),
            "is packed in more than 100 pieces",
        ),
        ("gzip, gzip", gzip.compress(zeros, mtime=0), 'is packed as "gzip, gzip", which was not asked for'),
        ("br", b"\x0b\x02\x80zeros\x03", 'is packed as "br", which was not asked for'),
        ("zstd", b"\x28\xb5\x2f\xfd" + bytes(100), 'is packed as "zstd", which was not asked for'),
        ("gzip", b"no gzip at all", "has a body that cannot be unpacked"),
        ("gzip", gzip.compress(bytes(1000), mtime=0)[:-9], "ended before its packed body did"),
    ]


@pytest.mark.parametrize(("encoding", "body", "why"), bombs())
async def test_a_bomb_is_put_down_before_it_is_unpacked(encoding: str, body: bytes, why: str) -> None:
    async with web({"/": said(body, content_encoding=encoding)}) as here:
        assert why in await refused(here)


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    while True:
        writer.write(b"more " * 1000)
        await writer.drain()


async def endless_chunks(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1\r\nx\r\n" * 1000)
        await writer.drain()


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        writer.write(b"X-%d: y\r\n" % number * 100)
        await writer.drain()


async def one_huge_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        writer.write(b"y" * 10000)
        await writer.drain()


async def endless_hints(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0)


async def slow_drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def slow_head(writer: asyncio.StreamWriter) -> None:
    for char in itertools.cycle(b"HTTP/1.1 200 OK\r\nX: y"):
        writer.write(bytes([char]))
        await writer.drain()
        await asyncio.sleep(0.02)


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def silent_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nabc")
    await writer.drain()
    await asyncio.sleep(60)


async def short(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\nabc")
    await writer.drain()


async def garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\x1b[31mSSH-2.0-OpenSSH_9.6\r\n\r\n")
    await writer.drain()


async def nothing(writer: asyncio.StreamWriter) -> None:
    """Closes at once."""


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


HOSTILE: list[tuple[Serve, str]] = [
    (endless, "has more than 1 MiB"),
    (endless_chunks, ""),
    (endless_headers, ""),
    (one_huge_header, ""),
    (endless_hints, " s"),
    (slow_drip, " s"),
    (slow_head, ""),
    (silent, "no answer for 0.5 s"),
    (silent_body, "no answer for 0.5 s"),
    (short, "peer closed connection"),
    (garbage, "http://example.org/: "),
    (nothing, "Server disconnected"),
    (reset, "http://example.org/: "),
]


@pytest.mark.parametrize(("serve", "why"), HOSTILE, ids=[serve.__name__ for serve, _ in HOSTILE])
async def test_a_hostile_server_gets_an_end_within_its_time(serve: Serve, why: str) -> None:
    async with web({"/": serve}) as here:
        began = time.monotonic()
        message = await refused(here, limits=HASTY)
        assert why in message
        assert "\x1b" not in message
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("application/pdf", "is a PDF file, which is not read"),
        ("image/png", "is image/png, and only text is read"),
        ("application/octet-stream", "only text is read"),
        ("video/mp4; charset=utf-8", "is video/mp4, and only text"),
        ("multipart/form-data", "only text is read"),
    ],
)
async def test_what_says_that_it_is_no_text_is_not_read(kind: str, why: str) -> None:
    async with web({"/": said(b"x", kind)}) as here:
        assert why in await refused(here)


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "http://example.org:22/", "//127.0.0.1/",
     "http://[::1]/", "javascript:alert(1)", "http://a@example.org/"],
)  # fmt: skip
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_leads_nowhere_else(to: str, status: int) -> None:
    async with web({"/": moved(to, status)}) as here:
        assert "is not opened" in await refused(here)
        assert len(here.dialled) == 1


@pytest.mark.parametrize("to", ["/é".encode(), "/é".encode("latin-1"), b"/%C3%A9"])
async def test_a_location_may_be_of_any_charset(to: bytes) -> None:
    sent_on = b"HTTP/1.1 302 Moved\r\nLocation: " + to + b"\r\nContent-Length: 0\r\n\r\n"
    async with web({"/": sent_on, "/%C3%A9": said("there")}) as here:
        assert (await fetched(here)).body == b"there"


async def test_of_two_locations_the_first_counts() -> None:
    two = b"HTTP/1.1 302 Moved\r\nLocation: /a\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"
    async with web({"/": two, "/a": said("a")}) as here:
        assert (await fetched(here)).body == b"a"


async def test_a_failure_says_whether_another_try_may_help() -> None:
    for status, may_pass in ((404, False), (403, False), (429, True), (500, True), (503, True)):
        async with web({"/": said("x", status=status)}) as here:
            with pytest.raises(StepError, match=f"answered with status {status}") as failure:
                await fetched(here)
            assert failure.value.retryable is may_pass


async def test_a_name_that_nobody_knows_is_said() -> None:
    async with web(names={"none.example": [[]]}) as here:
        assert await refused(here, "http://none.example/") == "the name none.example has no address"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for example.org, and its key."""
    need("openssl")
    folder = tmp_path_factory.mktemp("keys")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "cert.pem",
         "-days", "30", "-subj", "/CN=example.org", "-addext", "subjectAltName=DNS:example.org"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


async def test_a_handshake_that_nobody_answers_ends_and_leaves_no_connection() -> None:
    async with web(trusting=create_default_context()) as here:
        assert await refused(here, "https://example.org/", HASTY)
    gc.collect()  # a connection that was left open would be told of here, as an error


async def test_tls_holds_the_name_though_an_address_is_dialled(keys: Path) -> None:
    named: list[str | None] = []
    serving = SSLContext(PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(keys / "cert.pem", keys / "key.pem")
    serving.sni_callback = lambda connection, name, context: named.append(name)
    trusting = create_default_context(cafile=str(keys / "cert.pem"))
    pages = {"/": said("secret"), "/down": moved("http://example.org/")}
    async with web(pages, {"example.org": [[PUBLIC]]}, serving, trusting) as here:
        assert (await fetched(here, "https://example.org/")).body == b"secret"
        assert named == ["example.org"]
        assert here.dialled == [(PUBLIC, 443)]
        assert b"Host: example.org\r\n" in here.asked[0]
        assert "certificate" in (await refused(here, "https://example.net/")).lower()
        assert "is a redirect from https" in await refused(here, "https://example.org/down")
        assert {port for _, port in here.dialled} == {443}
    async with web(pages, serving=serving, trusting=create_default_context()) as here:
        assert "certificate" in (await refused(here, "https://example.org/")).lower()
