"""What one step has open: a stack of pages, each with its cursor, one call at a time."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.browser.dial import Network
from gptoss_flow.tools.browser.fetch import Request, fetch
from gptoss_flow.tools.browser.hosts import Reach
from gptoss_flow.tools.browser.marks import is_link_number
from gptoss_flow.tools.browser.page import Page, centred, found, page_of, view
from gptoss_flow.tools.browser.search import engine_of, search
from gptoss_flow.tools.browser.text import judge
from gptoss_flow.tools.browser.urls import parse_url
from gptoss_flow.tools.thread import in_thread
from gptoss_flow.tools.workspace import refusal

MAX_KEPT = 64 << 20
"""Of all open pages, as `Page.size`; beyond that the oldest are forgotten."""


@dataclass
class Session:
    """The pages of one step. A cursor is a page's place on the stack and never stands for another one."""

    network: Network
    _stack: list[Page | None] = field(default_factory=list)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Calls of one turn are made in their order, as each means the page that the one before it opened."""

    @classmethod
    def of(cls, context: ToolContext) -> Session:
        return context.kept.get("browser", lambda: cls(context.kept.get("network", Network)))

    async def search(self, query: str, count: int) -> str:
        async with self._turn:
            page = await search(engine_of(os.environ), query, max(1, count), self.network)
            return self._show(page, 0, 0)

    async def open(
        self, what: int | str, cursor: int, loc: int, lines: int, *, source: bool, context: ToolContext
    ) -> str:
        """Open a URL, the link of that number, or (-1) the page itself at another line."""
        async with self._turn:
            page, spot = await self._opened(what, cursor, source, context)
            return self._show(page, loc if loc >= 0 else spot, lines)

    async def find(self, pattern: str, cursor: int) -> str:
        async with self._turn:
            page = self._page(cursor)
            if page.kind not in ("page", "source"):
                raise refusal(
                    "find looks through a page that was opened, not through a list of results; open one first"
                )
            return self._show(await in_thread(lambda: found(page, pattern), "find"), 0, 0)

    def _show(self, page: Page, loc: int, lines: int) -> str:
        text = view(page, len(self._stack), loc, lines)
        self._stack.append(page)
        self._forget()
        return text

    async def _opened(self, what: int | str, cursor: int, source: bool, context: ToolContext) -> tuple[Page, int]:
        if isinstance(what, str) and not is_link_number(what):
            return await self._fetched(what, source, context), 0
        page, number = self._page(cursor), int(what)
        if number < 0:
            same = page.kind == "source" or not source
            return (page, 0) if same else (await self._fetched(page.url, source, context), 0)
        if number in page.spots and page.of is not None:
            return page.of, centred(page.spots[number])
        if number >= len(page.links):
            has = f"links 0 to {len(page.links) - 1}" if page.links else "no links"
            raise refusal(f"there is no link {number} on this page, which has {has}")
        url = page.links[number]
        kind = "source" if source else "page"
        known = next(
            (kept for kept in reversed(self._stack) if kept and kept.url == url and kept.kind == kind), None
        )
        return known or await self._fetched(url, source, context), 0

    async def _fetched(self, text: str, source: bool, context: ToolContext) -> Page:
        reach = Reach.granted(context.grants, rest=True)
        answer = await fetch(Request(url=parse_url(text)), reach, self.network, judge)
        return await in_thread(lambda: page_of(answer, source=source), "page")

    def _page(self, cursor: int) -> Page:
        if not self._stack:
            raise refusal("no page is open; open an address first, as https://example.org")
        if cursor >= len(self._stack):
            raise refusal(f"there is no cursor {cursor}; open pages have 0 to {len(self._stack) - 1}")
        page = self._stack[cursor]
        if page is None:
            raise refusal(f"page [{cursor}] is no longer kept; open its address again")
        return page

    def _forget(self) -> None:
        sizes = {id(page): page.size for page in self._stack if page is not None}
        total = sum(sizes.values())
        for place, page in enumerate(self._stack[:-1]):
            if total <= MAX_KEPT:
                return
            if page is not None:
                self._stack[place] = None
                still = any(kept is page for kept in self._stack)
                total -= 0 if still else sizes[id(page)]
