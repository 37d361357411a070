"""HTML to text that a model can read and click, in time linear in its length.

libxml2's parser tells its events to `_Writer`; no tree is built, so no depth can harm. What the parser itself does
in more than linear time (an end tag without a beginning, ten thousand levels deep) ends at `MAX_S`, which is said.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from lxml import etree

from gptoss_flow.tools.browser import marks
from gptoss_flow.tools.browser.html_tags import BLOCKS, CELLS, PARAGRAPHS, PREFIXED, UNSEEN, is_hidden
from gptoss_flow.tools.browser.marks import plain
from gptoss_flow.tools.browser.text import legible
from gptoss_flow.tools.browser.urls import MAX_CHARS

MAX_S = 5.0
"""Processor time for one page; one of 8 MiB takes about a second."""
MAX_LINKS = 10_000
_LINK_CHARS = 300
_DEEPEST_INDENT = 8
_PIECE_CHARS = 16_384
_LEVELS_A_PIECE = 1 << 24
"""The deeper the parser is, the smaller the pieces it gets, so that each one is done in milliseconds."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a page says: its text with marked links, and where link 0, 1, … lead."""

    title: str
    text: str
    links: tuple[str, ...]


def read_html(html: str, url: str) -> Read:
    """The page as text. Never raises for what a page may hold."""
    writer = _Writer(url)
    parser = etree.HTMLParser(target=writer, huge_tree=True)
    began, at = time.thread_time(), 0
    while at < len(html):
        size = max(32, min(_PIECE_CHARS, _LEVELS_A_PIECE // (writer.depth + 1)))
        parser.feed(html[at : at + size])
        at += size
        if time.thread_time() - began > MAX_S:
            writer.stop("The rest of the page is nested too badly to be read.")
            break
    if at:
        parser.close()
    return writer.read()


class _Writer:
    """A target of the parser: writes lines as elements begin and end."""

    def __init__(self, url: str) -> None:
        self._url, self._base, self._host = url, "", urlsplit(url).hostname or ""
        self._title: list[str] = []
        self._has_title = False
        self._lines: list[str] = []
        self._line: list[str] = []
        self._has_words = False
        """Of the line: whether it is more than a bullet."""
        self._blank, self._space = 0, False
        self._above: list[tuple[str, bool]] = []
        """Elements that are open, and whether each begins something unseen."""
        self._unseen, self._pre, self._in_title = 0, 0, 0
        self._lists: list[int] = []
        """Of each open list: its next number; -1 without numbers."""
        self._links: dict[str, int] = {}
        self._joined: dict[str, str] = {}
        """Where each reference leads that a link had."""
        self._link: tuple[int, str] | None = None
        """Number and URL of the link that is open, and how much was `_said` of it: without words it is none."""
        self._said = 0
        self._stopped = ""

    @property
    def depth(self) -> int:
        return len(self._above)

    # --- the parser's events ---------------------------------------------------------------------------------

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        hides = tag in UNSEEN or (tag not in ("html", "body") and is_hidden(tag, attributes))
        self._above.append((tag, hides))
        self._unseen += hides
        self._in_title += tag == "title"
        if tag == "base" and not self._base and len(href := attributes.get("href", "")) <= MAX_CHARS:
            self._base = _joined(self._url, href)
            self._joined.clear()
        if not self._unseen:
            self._begin(tag, attributes)

    def end(self, tag: str) -> None:
        if not self._above:
            return
        _, hides = self._above.pop()
        if tag == "title":
            self._in_title -= 1
            self._has_title = True
        if not self._unseen:
            self._finish(tag)
        self._unseen -= hides

    def data(self, text: str) -> None:
        if self._stopped:
            return
        if self._in_title:
            if not self._has_title:
                self._title.append(text)
        elif not self._unseen:
            self._say(plain(legible(text.replace("\r", "\n"))))

    def close(self) -> None:
        self._end_line()

    def stop(self, why: str) -> None:
        self._break(2)
        self._lines += ["", f"[{why}]"]
        self._stopped = why

    def read(self) -> Read:
        title = " ".join(plain(legible("".join(self._title))).split())[:300]
        return Read(title, "\n".join(self._lines).strip("\n"), tuple(self._links))

    # --- what they write -------------------------------------------------------------------------------------

    def _begin(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in BLOCKS or tag in CELLS:
            self._begin_block(tag, attributes)
        elif tag == "br":
            self._break(0)
        elif tag == "a":
            self._begin_link(attributes.get("href", ""))
        elif tag == "img" and (alt := " ".join(attributes.get("alt", "").split())):
            self._say(plain(legible(f" [Image: {alt[:_LINK_CHARS]}] ")))

    def _begin_block(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in CELLS:
            if self._has_words:
                self._close_link()
                self._line.append(" |")
                self._space = True
            return
        self._break(1 if tag in PARAGRAPHS and not (self._lists and tag in ("ul", "ol")) else 0)
        match tag:
            case "h1" | "h2" | "h3" | "h4" | "h5" | "h6":
                self._prefix("#" * int(tag[1]) + " ")
            case "ul" | "ol":
                self._lists.append(_number(attributes.get("start", "")) if tag == "ol" else -1)
            case "li":
                self._prefix(self._bullet())
            case "dd":
                self._prefix("  ")
            case "hr":
                self._say("---")
                self._break(1)
            case "pre":
                self._pre += 1
            case "blockquote":
                self._prefix("> ")

    def _finish(self, tag: str) -> None:
        if tag == "a":
            self._close_link()
        elif tag in BLOCKS:
            if tag in ("ul", "ol") and self._lists:
                self._lists.pop()
            if tag == "pre":
                self._pre = max(0, self._pre - 1)
            self._break(1 if tag in PARAGRAPHS and not self._lists else 0)
            if tag in PREFIXED and not self._has_words:
                self._line.clear()

    def _bullet(self) -> str:
        indent = "  " * min(max(0, len(self._lists) - 1), _DEEPEST_INDENT)
        if not self._lists or self._lists[-1] < 0:
            return f"{indent}* "
        self._lists[-1] += 1
        return f"{indent}{self._lists[-1] - 1}. "

    def _begin_link(self, href: str) -> None:
        self._close_link()
        href = href.strip()
        if not href or href.startswith("#"):
            return
        if href not in self._joined:
            if len(self._joined) >= MAX_LINKS:
                return
            self._joined[href] = _joined(self._base or self._url, href)
        url = self._joined[href]
        if not url.startswith(("http://", "https://")) or len(url) > MAX_CHARS:
            return
        self._link, self._said = (self._links.get(url, len(self._links)), url), 0

    def _close_link(self) -> None:
        if self._link is not None and self._said:
            host = _host(self._link[1])
            self._line.append(marks.end("" if host == self._host else host))
        self._link = None

    def _say(self, text: str) -> None:
        if self._pre and self._link is None:
            self._say_as_it_is(text)
            return
        words = text.split()
        self._space = self._space or not words or text[0].isspace()
        if not words:
            return
        said = " ".join(words)
        if self._space and self._line and not self._line[-1].endswith(" "):
            said = f" {said}"
        self._space = text[-1].isspace()
        self._write(said)

    def _write(self, said: str) -> None:
        if self._link is not None:
            said = said.replace("†", "‡")
            if not self._said:
                number, url = self._link
                self._links.setdefault(url, number)
                lead = " " if said.startswith(" ") else ""
                said = f"{lead}{marks.begin(number)}{said.lstrip()}"
            self._said += len(said)
        self._has_words = True
        self._line.append(said)
        if self._link is not None and self._said > _LINK_CHARS:
            self._close_link()

    def _say_as_it_is(self, text: str) -> None:
        first, *rest = text.split("\n")
        self._line.append(first)
        self._has_words = self._has_words or bool(first.strip())
        for line in rest:
            self._end_line(keep_empty=True)
            self._line.append(line)
            self._has_words = bool(line.strip())

    def _prefix(self, text: str) -> None:
        if not self._has_words:
            self._line[:] = [text]

    def _break(self, blank_lines: int) -> None:
        """What follows stands on a line of its own, after so many empty ones; within a link, after a space."""
        if self._link is not None:
            self._space = True
        elif self._line and not self._has_words:
            pass  # a bullet that still waits for its words
        else:
            self._end_line()
            self._blank = max(self._blank, blank_lines)

    def _end_line(self, *, keep_empty: bool = False) -> None:
        if not self._has_words and not keep_empty:
            return  # nothing, or a bullet whose words are still to come
        line = "".join(self._line).rstrip()
        self._line.clear()
        self._has_words = self._space = False
        if self._blank and self._lines:
            self._lines.append("")
        self._blank = 0
        self._lines.append(line)


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:
        return ""


def _host(url: str) -> str:
    try:
        return plain(legible(urlsplit(url).hostname or ""))[:100]
    except ValueError:
        return ""


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 1
