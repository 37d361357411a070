"""Pages as a model sees them: numbered lines within a window, links to click, matches of a pattern."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal
from urllib.parse import urlsplit

from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser import marks
from gptoss_flow.tools.browser.fetch import Answer
from gptoss_flow.tools.browser.html import read_html
from gptoss_flow.tools.browser.text import HTML, legible, media_type, text_of
from gptoss_flow.tools.browser.urls import shown
from gptoss_flow.tools.workspace import refusal

WIDTH = 80
WINDOW_BYTES = 4096
"""What is shown of a page unasked: about a thousand tokens."""
ASKED_BYTES = 30_000
"""The most that is shown at once where lines are asked for."""
MAX_FOUND = 50
_OBJECT_BYTES = 60
_FOUND_LINES = 4
_CONTEXT_LINES = 4

Kind = Literal["page", "source", "search", "found"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Something that was opened. Link `n` leads to `links[n]`, or to the line `spots[n]` of `of`."""

    kind: Kind
    url: str
    title: str
    lines: Sequence[str]
    links: Sequence[str] = ()
    of: Page | None = None
    spots: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def size(self) -> int:
        """What it takes in memory, about, in bytes of plain ASCII."""
        return sum(_OBJECT_BYTES + len(text) for texts in (self.lines, self.links) for text in texts)


def page_of(answer: Answer, *, source: bool) -> Page:
    """What an answer holds, `source`: as it stands there. Raises `StepError` where it is no text."""
    url, text = str(answer.head.url), text_of(answer)
    is_html = media_type(answer.head) in HTML or (not media_type(answer.head) and _looks_like_html(text))
    if is_html and not source:
        read = read_html(text, url)
        return Page(kind="page", url=url, title=read.title or url, lines=wrapped(read.text), links=read.links)
    lines = wrapped(marks.plain(legible(text.replace("\r\n", "\n").replace("\r", "\n"))))
    return Page(kind="source" if source else "page", url=url, title=_name(url), lines=lines)


def _looks_like_html(text: str) -> bool:
    return text.lstrip()[:14].lower().startswith(("<!doctype html", "<html"))


def _name(url: str) -> str:
    return urlsplit(url).path.rpartition("/")[2] or url


def wrapped(text: str) -> list[str]:
    """The text's lines, long ones broken after a word where there is one."""
    return [piece for line in text.split("\n") for piece in (_broken(line) if len(line) > WIDTH else (line,))]


def _broken(line: str) -> Iterator[str]:
    at = 0
    while len(line) - at > WIDTH:
        space = line.rfind(" ", at + 1, at + WIDTH + 1)
        end = space if space > 0 else at + WIDTH
        yield line[at:end]
        at = end + (space > 0)
    yield line[at:]


def view(page: Page, cursor: int, loc: int, num_lines: int) -> str:
    """The page as it is shown, from line `loc` on; `num_lines` below 1: as many as fit."""
    total = len(page.lines)
    if loc >= total:
        raise refusal(f"line {loc} is beyond the page, whose lines are 0 to {total - 1}")
    numbered, left = list[str](), ASKED_BYTES if num_lines > 0 else WINDOW_BYTES
    for number in range(loc, min(total, loc + num_lines) if num_lines > 0 else total):
        line = f"L{number}: {page.lines[number]}"
        left -= len(line.encode(errors="replace")) + 1
        if left < 0 and numbered:
            break
        numbered.append(line)
    last = loc + len(numbered) - 1
    where = f" ({shown(page.url)})" if page.url else ""
    title = marks.plain(shown(page.title))
    body = "\n".join(numbered)
    return f"[{cursor}] {title}{where}\n**viewing lines [{loc} - {last}] of {total - 1}**\n\n{body}"


def found(page: Page, pattern: str) -> Page:
    """Where a text stands, whatever its case, spaces and line ends: a page of its own with links there."""
    wanted = " ".join(pattern.lower().split())
    matches = list(_matches(page.lines, wanted))
    lines, spots = list[str](), dict[int, int]()
    for number, first in enumerate(matches[:MAX_FOUND]):
        spots[number] = first
        lines += [f"# {marks.link(number, f'match at L{first}')}"]
        lines += [marks.without_links(line) for line in page.lines[first : first + _FOUND_LINES]]
        lines.append("")
    if len(matches) > MAX_FOUND:
        lines.append(f"There are more matches than these {MAX_FOUND}.")
    if not matches:
        lines = wrapped(f"No `find` results for pattern: `{marks.plain(one_line(pattern))}`")
    title = f"Find results for text: `{one_line(pattern)}` in `{page.title}`"
    return Page(kind="found", url=page.url, title=title, lines=lines or [""], of=page, spots=spots)


def _matches(lines: Sequence[str], wanted: str) -> Iterator[int]:
    """The lines that matches begin in, at most one in any `_FOUND_LINES` lines: a snippet shows that many."""
    words = [" ".join(marks.without_links(line).lower().split()) for line in lines]
    text = " ".join(words)
    ends, at = list[int](), 0
    for line in words:
        at += len(line) + 1
        ends.append(at)
    number, after, count = 0, 0, 0
    while wanted and count <= MAX_FOUND and (hit := text.find(wanted, after)) >= 0:
        while ends[number] <= hit:
            number += 1
        yield number
        count += 1
        after = ends[min(number + _FOUND_LINES - 1, len(ends) - 1)]


def centred(line: int) -> int:
    """Where a view begins that is to show a line with some before it."""
    return max(0, line - _CONTEXT_LINES)
