"""Web search by the engine that the user chose in `GPTOSS_FLOW_SEARCH`: SearXNG, or any that answers in JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from gptoss_flow.errors import StepError
from gptoss_flow.tools.browser import marks
from gptoss_flow.tools.browser.dial import Network
from gptoss_flow.tools.browser.fetch import Head, Limits, Request, fetch
from gptoss_flow.tools.browser.hosts import Reach
from gptoss_flow.tools.browser.page import Page, wrapped
from gptoss_flow.tools.browser.text import judge, legible, text_of
from gptoss_flow.tools.browser.urls import MAX_CHARS, Url, parse_url, shown
from gptoss_flow.tools.workspace import refusal

VARIABLE = "GPTOSS_FLOW_SEARCH"
_FORMS = "searxng:https://HOST, or http:https://HOST/search?q={query} for a JSON list of {title, url, snippet}"
_LIMITS = Limits(redirects=0, bytes=2 << 20, total_s=30.0)
MAX_RESULTS = 20
_TITLE, _SNIPPET = 200, 600


@dataclass(frozen=True, slots=True)
class Engine:
    """Where to search. `template` holds `{query}`."""

    template: str

    def url(self, query: str) -> Url:
        return parse_url(self.template.replace("{query}", quote(query, safe="")))


def engine_of(environ: Mapping[str, str]) -> Engine:
    """The user's engine. Raises `StepError` that says how to choose one."""
    chosen = environ.get(VARIABLE, "").strip()
    kind, _, address = chosen.partition(":")
    if not chosen:
        raise refusal(
            f"no search engine is configured: the user may set {VARIABLE} to {_FORMS}; open an address instead"
        )
    if kind == "searxng" and "{" not in address and "?" not in address:
        template = f"{address.rstrip('/').removesuffix('/search')}/search?q={{query}}&format=json"
    elif kind == "http" and "{query}" in address.partition("?")[2]:
        template = address
    else:
        raise refusal(f"{VARIABLE} is not understood; set it to {_FORMS}")
    engine = Engine(template)
    engine.url("")
    return engine


async def search(engine: Engine, query: str, count: int, network: Network) -> Page:
    """The engine's results as a page of links. Raises `StepError`."""
    url = engine.url(query)
    # The engine's address is the user's own word, unlike those that it answers with: it may be on this machine.
    reach = Reach(own=url.site)
    answer = await fetch(Request(url=url, headers={"Accept": "application/json"}), reach, network, _judge, _LIMITS)
    try:
        results = _results(json.loads(text_of(answer)))
    except (ValueError, RecursionError):
        hint = (
            "; SearXNG needs `json` under search.formats in its settings"
            if "format=json" in engine.template
            else ""
        )
        raise StepError("tool", f"{shown(url)} did not answer with a list of results in JSON{hint}") from None
    kept = results[: min(count, MAX_RESULTS)]
    links = tuple(link for _, link, _ in kept)
    text = "\n\n".join(
        f"# {marks.link(number, title or link, _host(link))}\n{marks.plain(snippet)}".rstrip()
        for number, (title, link, snippet) in enumerate(kept)
    )
    nothing = f"No results for `{marks.plain(_words(query, _TITLE))}`."
    return Page(
        kind="search",
        url="",
        title=f"Search: {_words(query, _TITLE)}",
        lines=wrapped(text or nothing),
        links=links,
    )


def _judge(head: Head) -> None:
    if 300 <= head.status < 400:
        to = head.headers.get("location", "elsewhere")
        raise refusal(f"{shown(head.url)} redirects to {shown(to)}; name the final address in {VARIABLE}")
    if head.status == 403 and "format=json" in head.url.target:
        raise refusal(f"{shown(head.url)} answered 403; SearXNG needs `json` under search.formats in its settings")
    judge(head)


def _results(said: Any) -> list[tuple[str, str, str]]:
    """Title, URL and snippet of each result that has a URL. Raises `ValueError`."""
    rows = said.get("results") if isinstance(said, dict) else said
    if not isinstance(rows, list):
        raise ValueError("no list")
    found = list[tuple[str, str, str]]()
    for row in rows:
        link = row.get("url") if isinstance(row, dict) else None
        if isinstance(link, str) and _is_link(link):
            snippet = row.get("snippet") or row.get("content") or ""
            found.append((_words(row.get("title"), _TITLE), link, _words(snippet, _SNIPPET)))
    return found


def _is_link(link: str) -> bool:
    return len(link) <= MAX_CHARS and link.lower().startswith(("http://", "https://"))


def _words(text: Any, most: int) -> str:
    """A line of at most so many characters."""
    line = " ".join(legible(text).split()) if isinstance(text, str) else ""
    return line if len(line) <= most else line[: most - 1] + "…"


def _host(link: str) -> str:
    try:
        return legible(urlsplit(link).hostname or "")[:100]
    except ValueError:
        return ""
