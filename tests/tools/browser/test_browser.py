"""The tool `browser`: a stack of pages that a model opens, scrolls and looks through."""

from __future__ import annotations

import asyncio

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from tests.tools.browser.web import Web, said, web

pytestmark = pytest.mark.anyio
HOME = said("<title>Home</title><p>Welcome. <a href=/long>The long one</a> <a href='http://other.org/'>Other</a>")
LONG = said("".join(f"<p>Paragraph {n} of many.</p>" for n in range(300)) + "<p>The needle.")
PAGES = {
    "/": HOME,
    "/long": LONG,
    "/data": said('{"a": 1}', "application/json"),
    "/md": said("# Mark\n\n- x", "text/markdown"),
}


async def refused(here: Web, context: ToolContext, tool: str = "browser.open", **given: object) -> str:
    with pytest.raises(StepError) as failure:
        await here.call(tool, context=context, **given)
    return failure.value.message


async def test_a_model_opens_clicks_scrolls_finds_and_goes_back() -> None:
    async with web(PAGES) as here:
        context = here.context()
        home = await here.call("browser.open", context=context, id="http://example.org/")
        assert home == (
            "[0] Home (http://example.org/)\n**viewing lines [0 - 0] of 0**\n\n"
            "L0: Welcome. 【0†The long one】 【1†Other†other.org】"
        )
        long = await here.call("browser.open", context=context, id=0)
        assert long.startswith("[1] http://example.org/long (http://example.org/long)\n**viewing lines [0 - ")
        assert "L0: Paragraph 0 of many." in long
        scrolled = await here.call("browser.open", context=context, loc=100, num_lines=2)
        assert scrolled.startswith("[2] ")
        assert scrolled.endswith("**viewing lines [100 - 101] of 600**\n\nL100: Paragraph 50 of many.\nL101: ")
        found = await here.call("browser.find", context=context, pattern="NEEDLE", cursor=1)
        assert found.startswith("[3] Find results for text: `NEEDLE`")
        assert "【0†match at L600】" in found
        there = await here.call("browser.open", context=context, id=0)
        assert there.startswith("[4] ")
        assert "L596: " in there and "L600: The needle." in there
        other = await here.call("browser.open", context=context, id=1, cursor=0)
        assert other.startswith("[5] Home (http://other.org/)")
        assert here.looked_up == ["example.org", "example.org", "other.org"], "the same page is fetched once"


async def test_a_link_that_was_opened_is_not_fetched_again_but_an_address_is() -> None:
    async with web(PAGES) as here:
        context = here.context()
        for given in ({"id": "http://example.org/"}, {"id": 0}, {"id": 0, "cursor": 0}, {"id": "0", "cursor": 0},
                      {"id": 0.0, "cursor": 0.0, "loc": -1.0}):  # fmt: skip
            await here.call("browser.open", context=context, **given)
        assert len(here.asked) == 2
        await here.call("browser.open", context=context, id="http://example.org/long")
        assert len(here.asked) == 3


async def test_the_source_of_a_page_can_be_seen() -> None:
    async with web(PAGES) as here:
        context = here.context()
        await here.call("browser.open", context=context, id="http://example.org/")
        source = await here.call("browser.open", context=context, view_source=True)
        assert "L0: <title>Home</title><p>Welcome. <a href=/long>" in source
        assert "L0: <title>" in await here.call("browser.open", context=context)


async def test_plain_text_json_and_markdown_are_shown_as_they_are() -> None:
    async with web(PAGES) as here:
        shown = await here.call("browser.open", id="http://example.org/data")
        assert shown.startswith("[0] data (http://example.org/data)")
        assert shown.endswith('L0: {"a": 1}')
        assert "L0: # Mark\nL1: \nL2: - x" in await here.call("browser.open", id="http://example.org/md")


async def test_what_is_not_there_is_said_and_leaves_the_stack_as_it_was() -> None:
    async with web(PAGES) as here:
        context = here.context()
        assert "no page is open" in await refused(here, context)
        assert "no page is open" in await refused(here, context, "browser.find", pattern="x")
        await here.call("browser.open", context=context, id="http://example.org/")
        assert "there is no link 9 on this page, which has links 0 to 1" in await refused(here, context, id=9)
        assert "there is no cursor 4; open pages have 0 to 0" in await refused(here, context, cursor=4)
        assert "line 7 is beyond the page" in await refused(here, context, loc=7)
        assert "status 404" in await refused(here, context, id="http://example.org/none")
        assert "write the whole address, as https://" in await refused(here, context, id="example.org")
        await here.call("browser.find", context=context, pattern="welcome")
        assert "find looks through a page that was opened" in await refused(
            here, context, "browser.find", pattern="x"
        )
        assert (await here.call("browser.open", context=context, cursor=0)).startswith("[2] Home")


@pytest.mark.parametrize("odd", ["9" * 5000, "http://example.org/\ud800", "http://\ud800/", "\ud800", "²", "٣"])
async def test_no_odd_id_is_more_than_refused(odd: str) -> None:
    async with web(PAGES) as here:
        context = here.context()
        await here.call("browser.open", context=context, id="http://example.org/")
        await refused(here, context, id=odd)


async def test_text_with_half_a_character_is_refused() -> None:
    async with web(PAGES) as here:
        context = here.context()
        await here.call("browser.open", context=context, id="http://example.org/")
        for tool, name in (("browser.find", "pattern"), ("browser.search", "query")):
            message = await refused(here, context, tool, **{name: "\ud800"})
            assert message.startswith(f'tool "{tool}": {name} ')
            message.encode()


async def test_each_step_has_pages_of_its_own() -> None:
    async with web(PAGES) as here:
        await here.call("browser.open", context=here.context(), id="http://example.org/")
        assert "no page is open" in await refused(here, here.context(), id=0)


async def test_calls_of_one_turn_are_made_in_their_order() -> None:
    async with web(PAGES) as here:
        context = here.context()
        opened, found, scrolled = await asyncio.gather(
            here.call("browser.open", context=context, id="http://example.org/long"),
            here.call("browser.find", context=context, pattern="needle"),
            here.call("browser.open", context=context, id=0),
        )
        assert opened.startswith("[0] http://example.org/long")
        assert found.startswith("[1] Find results")
        assert scrolled.startswith("[2] http://example.org/long")


async def test_old_pages_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptoss_flow.tools.browser.session.MAX_KEPT", 20_000)
    async with web({f"/{n}": said("word " * 2000, "text/plain") for n in range(4)}) as here:
        context = here.context()
        for number in range(4):
            await here.call("browser.open", context=context, id=f"http://example.org/{number}")
        assert "page [0] is no longer kept; open its address again" in await refused(here, context, cursor=0)
        assert (await here.call("browser.open", context=context, cursor=3)).startswith("[4] 3 ")


async def test_empty_lines_take_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gptoss_flow.tools.browser.session.MAX_KEPT", 20_000)
    async with web({f"/{n}": said("\n" * 2000, "text/plain") for n in range(3)}) as here:
        context = here.context()
        for number in range(3):
            await here.call("browser.open", context=context, id=f"http://example.org/{number}")
        assert "page [0] is no longer kept" in await refused(here, context, cursor=0)


async def test_a_call_that_is_cancelled_leaves_no_connection_and_no_lock() -> None:
    started = asyncio.Event()

    async def silent(writer: asyncio.StreamWriter) -> None:
        started.set()
        await asyncio.sleep(60)

    async with web({"/": silent, "/ok": said("fine")}) as here:
        context = here.context()
        task = asyncio.ensure_future(here.call("browser.open", context=context, id="http://example.org/"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "fine" in await here.call("browser.open", context=context, id="http://example.org/ok")


@pytest.mark.parametrize(
    "given",
    [
        {"id": -2},
        {"cursor": -5},
        {"loc": 1.5},
        {"id": ""},
        {"id": None},
        {"view_source": "yes"},
        {"url": "http://x"},
    ],
)
async def test_arguments_that_are_none_are_refused(given: dict[str, object]) -> None:
    async with web() as here:
        assert 'tool "browser.open"' in await refused(here, here.context(), **given)
