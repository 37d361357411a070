"""Nothing but a public address, or what the flow grants by its very address, is ever dialled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gptoss_flow.errors import StepError
from tests.tools.browser.spellings import ELSEWHERE_AFTER_ALL, HARMFUL
from tests.tools.browser.web import PUBLIC, Web, moved, said, web

pytestmark = pytest.mark.anyio
HERE = "127.0.0.1"
AT_HERE = {name: [[HERE]] for name in ("localhost.localdomain", "ip6-localhost", "127.0.0.1.nip.io")}
AT_HOME = {name: [["192.168.0.1"]] for name in ("metadata.google.internal", "router", "printer.local")}


async def refused(web: Web, url: str, hosts: tuple[str, ...] = ()) -> str:
    with pytest.raises(StepError) as failure:
        await web.call("browser.open", hosts, id=url)
    return failure.value.message


def test_there_are_more_than_a_hundred_spellings() -> None:
    assert len(set(HARMFUL)) == len(HARMFUL) >= 100


async def test_no_spelling_of_a_private_address_is_dialled() -> None:
    async with web({"/": said("here")}, AT_HERE | AT_HOME) as here:
        for url in HARMFUL:
            await refused(here, url)
        assert here.dialled == []


async def test_what_stands_behind_the_host_is_not_dialled() -> None:
    async with web() as here:
        for url in ELSEWHERE_AFTER_ALL:
            assert "answered with status 404" in await refused(here, url)
        assert set(here.dialled) == {(PUBLIC, 80)}
        assert set(here.looked_up) == {"example.org"}


async def test_no_redirect_leads_to_one() -> None:
    async with web(names=AT_HERE | AT_HOME) as here:
        for url in HARMFUL:
            if "\n" in url or "\r" in url:
                continue  # no header can hold it
            here.dialled.clear()
            target = url if url[:1] == "/" else f"{url}"
            here.pages = {"/start": moved(target), "/": said("here")}
            said_of_it = await outcome(here, "http://example.org/start")
            assert {address for address, _ in here.dialled} == {PUBLIC}, (url, said_of_it)
            assert {port for _, port in here.dialled} <= {80, 443}, url


async def outcome(here: Web, url: str) -> str:
    """What is shown, or why not: some of these, relative to a public page, are harmless pages of that site."""
    try:
        return str(await here.call("browser.open", id=url))
    except StepError as failure:
        return failure.message


@pytest.mark.parametrize(
    "second", [HERE, "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
async def test_a_name_that_is_rebound_is_judged_by_what_is_dialled(second: str) -> None:
    """Its first answer is public, the second, with a TTL of 0, is not."""
    names = {"rebind.example": [[PUBLIC], [second]]}
    async with web({"/": said("first"), "/again": moved("http://rebind.example/")}, names) as here:
        assert "first" in await here.call("browser.open", id="http://rebind.example/")
        assert here.looked_up == ["rebind.example"], "one look-up for one connection"
        assert "only addresses on the internet" in await refused(here, "http://rebind.example/")
        here.names = {"rebind.example": [[PUBLIC], [second]]}
        assert "only addresses on the internet" in await refused(here, "http://rebind.example/again")
        assert {address for address, _ in here.dialled} == {PUBLIC}


@pytest.mark.parametrize("private", [HERE, "::1", "fd00::1", "100.64.0.1"])
async def test_one_private_address_among_public_ones_closes_the_name(private: str) -> None:
    async with web({"/": said("x")}, {"mixed.example": [[PUBLIC, private]]}) as here:
        assert f"mixed.example is at {private}" in await refused(here, "http://mixed.example/")
        assert here.dialled == []


async def test_a_private_address_is_opened_where_the_flow_grants_it_with_its_port() -> None:
    async with web({"/": said("here I am")}) as here:
        assert "here I am" in await here.call("browser.open", [here.site], id=f"http://{here.site}/")
        assert "the flow may grant" in await refused(here, f"http://{here.site}/")
        for other in (f"http://127.0.0.2:{here.port}/", f"http://127.0.0.1:{here.port + 1}/", "http://127.0.0.1/"):
            assert "the flow grants" in await refused(here, other, (here.site,))
        assert here.dialled == [(HERE, here.port)]


async def test_a_granted_name_never_permits_a_private_address() -> None:
    async with web({"/": said("x")}, {"inside.example": [[HERE]]}) as here:
        for grant in ("inside.example", "*.example", f"inside.example:{here.port}"):
            port = f":{here.port}" if ":" in grant else ""
            assert "inside.example is at 127.0.0.1, loopback" in await refused(
                here, f"http://inside.example{port}/", (grant,)
            )
        assert "a name never stands for this machine" in await refused(here, "http://x.org/", ("localhost:8080",))
        assert here.dialled == []


async def test_where_hosts_are_granted_nothing_else_is_opened_or_looked_up() -> None:
    async with web({"/": said("x"), "/out": moved("http://other.example/")}) as here:
        await here.call("browser.open", ["docs.example", "*.sub.example"], id="http://docs.example/")
        await here.call("browser.open", ["docs.example", "*.sub.example"], id="http://a.sub.example/")
        others = "other.example sub.example xdocs.example a.docs.example docs.example:8080 docs.example.evil"
        for url in (*(f"http://{other}/" for other in others.split()), "http://docs.example/out"):
            assert "the flow grants docs.example, *.sub.example" in await refused(
                here, url, ("docs.example", "*.sub.example")
            )
        assert set(here.looked_up) == {"docs.example", "a.sub.example"}


@pytest.mark.parametrize(("tool", "argument"), [("browser.open", "id"), ("http", "url")])
async def test_a_flow_inside_another_opens_nothing_beyond_what_that_one_grants(tool: str, argument: str) -> None:
    async with web({"/": said("x")}) as here:
        plain = here.context(["*.example", "other.org"])
        grants = replace(plain.grants, within=(("docs.example", "a.example"), ("*.example",)))
        context = replace(plain, grants=grants)
        await here.call(tool, context=context, **{argument: "http://docs.example/"})
        for host, said_of in (("b.example", "docs.example, a.example"), ("other.org", "docs.example, a.example")):
            with pytest.raises(StepError, match=f"a flow around this one grants {said_of} alone"):
                await here.call(tool, context=context, **{argument: f"http://{host}/"})
        assert set(here.looked_up) == {"docs.example"}


async def test_other_ports_are_opened_where_the_flow_grants_them() -> None:
    async with web({"/": said("x")}) as here:
        await here.call("browser.open", ["docs.example:8443"], id="http://docs.example:8443/")
        assert here.dialled == [(PUBLIC, 8443)]
        assert "the flow grants docs.example:8443" in await refused(
            here, "http://docs.example/", ("docs.example:8443",)
        )


@pytest.mark.parametrize(
    "grant",
    ["127.0.0.1", "10.0.0.5", "[::1]", "http://example.org", "example.org/path", "*", "*.", "a b", "",
     "*.10.0.0.1", "example.org:http", "example.org:0", "127.1:80", "user@example.org"],
)  # fmt: skip
async def test_a_grant_that_is_none_is_said(grant: str) -> None:
    async with web() as here:
        message = await refused(here, "http://example.org/", (grant,))
        assert message.startswith(f'the granted host "{grant}": ')
        assert "write example.org, *.example.org, example.org:8443 or an address with its port" in message


@pytest.mark.parametrize(
    "grant", ["localhost", "localhost:8080", "a.localhost:80", "*.localhost:80", "LOCALHOST."]
)
async def test_a_grant_of_this_machine_by_name_is_none(grant: str) -> None:
    async with web() as here:
        message = await refused(here, "http://example.org/", (grant,))
        assert "a name never stands for this machine; name the address and grant it with its port" in message


async def test_at_most_five_redirects_are_followed() -> None:
    pages = {f"/{n}": moved(f"/{n + 1}") for n in range(9)} | {"/5": said("the fifth")}
    async with web(pages) as here:
        assert "the fifth" in await here.call("browser.open", id="http://example.org/0")
        assert len(here.dialled) == 6
        here.pages["/5"] = moved("/6")
        assert "at most 5 are followed" in await refused(here, "http://example.org/0")
        here.pages["/loop"] = moved("/loop")
        assert "at most 5 are followed" in await refused(here, "http://example.org/loop")
        assert len(here.dialled) == 18


async def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer() -> None:
    async with web({"/": said("second")}, {"two.example": [["93.184.216.35", PUBLIC]]}) as here:
        here.dead = {"93.184.216.35"}
        assert "second" in await here.call("browser.open", id="http://two.example/")
        assert here.dialled == [("93.184.216.35", 80), (PUBLIC, 80)]
