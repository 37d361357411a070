"""The tool `http`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gptoss_flow.errors import StepError
from tests.tools.browser.spellings import HARMFUL
from tests.tools.browser.web import PUBLIC, Web, moved, said, web

pytestmark = pytest.mark.anyio
HOST = "api.example"
URL = f"http://{HOST}/"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def asked(here: Web, hosts: tuple[str, ...] = (HOST,), **given: Any) -> Any:
    return await here.call("http", hosts, **{"url": URL, **given})


async def refused(here: Web, hosts: tuple[str, ...] = (HOST,), **given: Any) -> str:
    with pytest.raises(StepError) as failure:
        await asked(here, hosts, **given)
    return failure.value.message


async def test_an_answer_is_data() -> None:
    pages = {
        "/": said(
            '{"a": [1, null]}', "application/json; charset=utf-8", etag='"1"', set_cookie="a=b", x_other="y"
        ),
        "/problem": said('{"title": "no"}', "application/problem+json", status=422),
        "/text": said("Grüße", "text/plain"),
        "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
    }
    async with web(pages) as here:
        assert await asked(here) == {
            "status": 200,
            "headers": {"content-type": "application/json; charset=utf-8", "etag": '"1"'},
            "text": None,
            "json": {"a": [1, None]},
        }
        assert (await asked(here, url=f"{URL}problem"))["json"] == {"title": "no"}
        assert (await asked(here, url=f"{URL}problem"))["status"] == 422
        text = await asked(here, url=f"{URL}text")
        assert (text["text"], text["json"]) == ("Grüße", None)
        assert await asked(here, url=f"{URL}none") == {"status": 204, "headers": {}, "text": "", "json": None}
        assert (await asked(here, method="HEAD"))["text"] == ""


@pytest.mark.parametrize(
    "body",
    ["{no json", "[" * 100_000, '{"a": NaN}', '{"a": 1e999}', f'{{"a": {"9" * 5000}}}', f'{{"a": {2**70}}}',
     '["\\ud800"]', '"\\udfff"', "[" * 70 + "]" * 70],
)  # fmt: skip
async def test_what_no_record_could_hold_is_text(body: str) -> None:
    async with web({"/": said(body, "application/json")}) as here:
        answer = await asked(here)
        assert (answer["text"], answer["json"]) == (body, None)
        json.dumps(answer).encode()


async def test_json_text_and_headers_are_sent() -> None:
    async with web({"/": said("{}", "application/json")}) as here:
        await asked(
            here, method="POST", json={"é": [1, None]}, headers={"Authorization": "Bearer x", "accept": "*/*"}
        )
        head, _, body = here.asked[0].partition(b"\r\n\r\n")
        assert head.decode().split("\r\n") == [
            "POST / HTTP/1.1", "Host: api.example", "User-Agent: gptoss-flow", "Accept-Encoding: gzip, deflate",
            "Connection: close", "Authorization: Bearer x", "accept: */*", "Content-Type: application/json",
            "Content-Length: 17",
        ]  # fmt: skip
        assert json.loads(body) == {"é": [1, None]}
        await asked(here, method="PUT", body="ünï", headers={"Content-Type": "text/x"})
        assert here.asked[1].endswith("Content-Length: 5\r\n\r\nünï".encode())
        await asked(here, method="POST")
        assert b"Content-Length: 0\r\n" in here.asked[2]


async def _hangs_up(writer: Any) -> None:
    writer.close()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (_hangs_up, "http://api.example/: "),
        (b"HTTP/1.1 200 Said\r\nContent-Length: 9\r\n\r\nhal", "http://api.example/: "),
        (said("%PDF", "application/pdf"), "is a PDF file"),
        (said(b"\0\1\2" * 99, "text/plain"), "http://api.example/ is "),
    ],
)
async def test_what_was_asked_and_not_answered_well_may_have_happened(page: Any, said: str) -> None:
    async with web({"/": page}) as here:
        with pytest.raises(StepError, match=said) as failure:
            await asked(here, method="POST", body="x")
        assert (failure.value.unsure, len(here.asked)) == (True, 1)


async def test_what_was_never_asked_has_not_happened() -> None:
    async with web() as here:
        here.dead.add(PUBLIC)
        for hosts in ((HOST,), ()):
            with pytest.raises(StepError) as failure:
                await asked(here, hosts, method="POST", body="x")
            assert (failure.value.unsure, here.asked) == (False, [])


async def test_without_granted_hosts_nothing_is_asked() -> None:
    async with web({"/": said("x")}) as here:
        message = await refused(here, ())
        assert message == (
            '"http://api.example/" is not opened: the flow grants no hosts; '
            "add api.example to permissions: {hosts: […]}"
        )
        assert "the flow grants api.example" in await refused(here, url="http://other.example/")
        for url in HARMFUL:
            await refused(here, url=url)
        assert here.dialled == []
        assert here.looked_up == []


async def test_a_name_of_this_machine_is_told_as_the_address_to_grant() -> None:
    async with web() as here:
        with pytest.raises(StepError, match=r"a name never stands .* ask 127\.0\.0\.1:8080, and add"):
            await here.call("http", url="http://localhost:8080/x")


async def test_a_local_site_is_asked_where_it_is_granted_by_address_and_port() -> None:
    async with web({"/": said("local", "text/plain")}) as here:
        assert (await asked(here, (here.site,), url=f"http://{here.site}/"))["text"] == "local"
        assert "the flow grants" in await refused(here, (here.site,), url=f"http://localhost:{here.port}/")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "x"}, 'header "Host" is set by the tool itself'),
        ({"hOST": "x"}, "is set by the tool itself"),
        ({"Transfer-Encoding": "chunked"}, "is set by the tool itself"),
        ({"Content-Length": "0"}, "is set by the tool itself"),
        ({"Connection": "upgrade"}, "is set by the tool itself"),
        ({"Proxy-Authorization": "x"}, "is set by the tool itself"),
        ({"X\r\nY": "x"}, r'header "X\r\nY" is no name of a header'),
        ({"X: y": "x"}, "is no name of a header"),
        ({"": "x"}, "is no name of a header"),
        ({"Ü": "x"}, "is no name of a header"),
        ({"X": "secret\r\nY: z"}, 'header "X" must be one line of up to 4096 ASCII characters'),
        ({"X": "secret\n"}, "must be one line"),
        ({"X": "secret\0"}, "must be one line"),
        ({"X": "secretü"}, "must be one line"),
        ({"X": "secret" * 1000}, "must be one line"),
        ({"X": "1", "x": "2"}, "has a header twice"),
        ({"X": 1}, "must be text"),
    ],
)
async def test_headers_that_two_readers_could_read_in_two_ways_are_refused(
    headers: dict[str, Any], why: str
) -> None:
    async with web() as here:
        message = await refused(here, headers=headers)
        assert why in message
        assert "secret" not in message
        assert here.dialled == []


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"method": "TRACE"}, "must be one of"),
        ({"method": "GET /x HTTP/1.1\r\n"}, "must be one of"),
        ({"body": "a", "json": {}}, "has both body and json"),
        ({"timeout": "10m"}, "at most 5m"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "is not a duration"),
        ({"url": "http://api.example/\r\nX: y"}, "it has control characters"),
    ],
)
async def test_arguments_that_are_none_are_refused(given: dict[str, Any], why: str) -> None:
    async with web() as here:
        assert why in await refused(here, **given)
        assert here.dialled == []


async def test_a_redirect_to_another_site_goes_without_the_flows_headers() -> None:
    pages = {"/a": moved("/b"), "/b": moved("http://two.example/c"), "/c": said("x", "text/plain")}
    async with web(pages) as here:
        hosts = (HOST, "two.example")
        await asked(here, hosts, url=f"{URL}a", headers={"Authorization": "Bearer x"})
        assert [b"Bearer" in request for request in here.asked] == [True, True, False]
        assert "the flow grants api.example" in await refused(here, url=f"{URL}a")
        assert {address for address, _ in here.dialled} == {PUBLIC}


async def test_what_is_sent_is_sent_once() -> None:
    async with web({"/": moved("/b", 307), "/b": said("x")}) as here:
        answer = await asked(here, method="POST", json={})
        assert (answer["status"], answer["headers"]["location"]) == (307, "/b")
        assert len(here.asked) == 1


async def test_no_text_is_refused() -> None:
    async with web({"/": said(b"\x89PNG\r\n", "image/png"), "/lie": said(b"\x89PNG\r\n", "text/plain")}) as here:
        assert "is image/png, and only text is read" in await refused(here)
        assert "is a picture, not text/plain" in await refused(here, url=f"{URL}lie")
        assert (await asked(here, method="HEAD"))["status"] == 200
