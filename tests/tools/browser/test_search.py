"""`browser.search` with engines on this machine, which the user's variable names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from tests.tools.browser.web import Web, moved, said, web

pytestmark = pytest.mark.anyio
VARIABLE = "GPTOSS_FLOW_SEARCH"
ROWS = [
    {"title": "The  first\n【0†one】", "url": "http://example.org/", "content": "About\u202e first things."},
    {"title": None, "url": "https://other.org/x", "snippet": "s" * 2000},
    {"title": "no address"},
    {"title": "bad", "url": "javascript:alert(1)"},
    "no row",
]


async def refused(here: Web, query: str = "x") -> str:
    with pytest.raises(StepError) as failure:
        await here.call("browser.search", query=query)
    return failure.value.message


async def test_results_are_links_to_open(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {
        "/search?q=two%20words%20%26%20%C3%A9&format=json": said(
            json.dumps({"results": ROWS}), "application/json"
        ),
        "/": said("<title>First</title>hello"),
    }
    async with web(pages) as here:
        monkeypatch.setenv(VARIABLE, f"searxng:http://{here.site}/")
        context = here.context()
        shown = await here.call("browser.search", context=context, query="two words & é")
        assert shown.startswith("[0] Search: two words & é\n**viewing lines [0 - ")
        assert "L0: # 【0†The first 〖0‡one〗†example.org】\nL1: About first things.\nL2: \n" in shown
        assert "L3: # 【1†https://other.org/x†other.org】" in shown
        assert "bad" not in shown and len(shown) < 1200
        assert (await here.call("browser.open", context=context, id=0)).startswith(
            "[1] First (http://example.org/)"
        )
        assert here.dialled == [("127.0.0.1", here.port), ("93.184.216.34", 80)]


async def test_any_engine_that_answers_with_a_list_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"title": f"T{n}", "url": f"http://e.org/{n}", "snippet": ""} for n in range(50)]
    async with web({"/find?q=a%2Fb%3Fc&n=5": said(json.dumps(rows), "application/json")}) as here:
        monkeypatch.setenv(VARIABLE, f"http:http://{here.site}/find?q={{query}}&n=5")
        shown = await here.call("browser.search", query="a/b?c", topn=3)
        assert shown.count("【") == 3
        assert (await here.call("browser.search", query="a/b?c", topn=1000)).count("【") == 20


async def test_the_engine_may_be_named_by_any_name_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real resolver, which no other test asks for a name."""
    async with web({"/search?q=x&format=json": said("[]", "application/json")}) as here:
        monkeypatch.setenv(VARIABLE, f"searxng:http://localhost:{here.port}")
        context = ToolContext(workspace=Path("/nowhere"))
        assert "No results for" in await here.call("browser.search", context=context, query="x")


async def test_nothing_found_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web({"/search?q=x&format=json": said('{"results": []}', "application/json")}) as here:
        monkeypatch.setenv(VARIABLE, f"searxng:http://{here.site}")
        assert "No results for `x`." in await here.call("browser.search", query="x")


async def test_results_of_an_engine_may_not_be_opened_where_the_flow_says_no(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The user's engine may be on this machine; what it answers with may not be, nor lie outside the grants."""
    rows = [{"title": "t", "url": "http://127.0.0.1/"}, {"title": "t", "url": "http://example.org/"}]
    async with web({"/search?q=x&format=json": said(json.dumps(rows), "application/json")}) as here:
        monkeypatch.setenv(VARIABLE, f"searxng:http://{here.site}")
        context = here.context()
        await here.call("browser.search", context=context, query="x")
        with pytest.raises(StepError, match=r"127\.0\.0\.1 is loopback"):
            await here.call("browser.open", context=context, id=0)
        with pytest.raises(StepError, match=f"port {here.port} is neither 80 nor 443"):
            await here.call("browser.open", context=context, id=f"http://{here.site}/")
        context = here.context(["docs.example"])
        await here.call("browser.search", context=context, query="x")
        with pytest.raises(StepError, match=r"the flow grants docs\.example"):
            await here.call("browser.open", context=context, id=1)


async def test_without_an_engine_it_says_how_to_choose_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with web() as here:
        monkeypatch.delenv(VARIABLE, raising=False)
        message = await refused(here)
        assert message.startswith(
            "no search engine is configured: the user may set GPTOSS_FLOW_SEARCH to searxng:https"
        )
        for wrong in ("https://x.org", "searxng:ftp://x.org", "http:https://x.org/", "google:", "searxng:",
                      "http:http://{query}.org/?q={query}", "searxng:http://u:p@x.org"):  # fmt: skip
            monkeypatch.setenv(VARIABLE, wrong)
            await refused(here)
        assert here.dialled == here.looked_up == []


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (said("<html>", status=403), "SearXNG needs `json` under search.formats"),
        (said("<html>a page"), "did not answer with a list of results in JSON; SearXNG needs `json`"),
        (said("{}", "application/json"), "did not answer with a list"),
        (said("[" * 100_000, "application/json"), "did not answer with a list"),
        (said('{"results": {"a": 1}}', "application/json"), "did not answer with a list"),
        (said("x", status=502), "answered with status 502"),
        (
            moved("http://example.org/"),
            "redirects to http://example.org/; name the final address in GPTOSS_FLOW_SEARCH",
        ),
    ],
)
async def test_an_engine_that_does_not_answer_well_is_said(
    monkeypatch: pytest.MonkeyPatch, page: bytes, why: str
) -> None:
    async with web({"/search?q=x&format=json": page}) as here:
        monkeypatch.setenv(VARIABLE, f"searxng:http://{here.site}")
        assert why in await refused(here)
        assert len(here.dialled) == 1
