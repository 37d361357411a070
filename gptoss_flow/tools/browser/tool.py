"""The tool `browser`, in the shape that gpt-oss knows: `browser.search`, `browser.open`, `browser.find`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from gptoss_flow.arguments import Fault
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.browser.marks import is_link_number

Unset = Annotated[int, Field(ge=-1)]


class Search(Arguments):
    query: Annotated[str, Field(min_length=1, max_length=1000)]
    """What to search for."""
    topn: Annotated[int, Field(ge=1)] = 10
    """How many results to show, at most 20."""
    source: str | None = None
    """Only `web` is there."""


class Open(Arguments):
    id: Unset | Annotated[str, Field(min_length=1)] = -1
    """The number of a link, shown as `【id†text】` on the page of `cursor`, or a URL; else the same page."""
    cursor: Unset = -1
    """The page, by the number that its display began with; without it the most recent one."""
    loc: Unset = -1
    """The line to begin at; without it the beginning, or what a link of `browser.find` is about."""
    num_lines: Unset = -1
    """How many lines to show, as far as they fit; without it about a thousand tokens."""
    view_source: bool = False
    """Show what the site sent as it stands there."""
    source: str | None = None
    """Only `web` is there."""


class Find(Arguments):
    pattern: Annotated[str, Field(min_length=1, max_length=1000)]
    """The text to look for, whatever its case."""
    cursor: Unset = -1
    """The page, by the number that its display began with; without it the most recent one."""


# The libraries that dial and parse are loaded with the first call: a command that only names the tool is quick.


async def search(arguments: Search, context: ToolContext) -> str:
    from gptoss_flow.tools.browser.session import Session

    return await Session.of(context).search(arguments.query, arguments.topn)


async def open_(arguments: Open, context: ToolContext) -> str:
    from gptoss_flow.tools.browser.session import Session

    view = arguments.model_dump(include={"cursor", "loc"})
    return await Session.of(context).open(
        arguments.id, lines=arguments.num_lines, source=arguments.view_source, context=context, **view
    )


async def find(arguments: Find, context: ToolContext) -> str:
    from gptoss_flow.tools.browser.session import Session

    return await Session.of(context).find(arguments.pattern, arguments.cursor)


def _open_alone(given: Mapping[str, Json]) -> Fault:
    is_address = isinstance(given.get("id"), str) and not is_link_number(str(given["id"]))
    if is_address and given.get("cursor", -1) == -1:
        return "", ""
    return (
        f"browser.open goes on from an open page, {_ALONE}",
        'give the address: {id: "https://example.org/page"}',
    )


def _find_alone(given: Mapping[str, Json]) -> Fault:
    hint = "let a model browse (tools: [browser]), or open the page and look through the step's output"
    return f"browser.find looks through an open page, {_ALONE}", hint


_ALONE = "and pages are open only as long as the step that opened them; a step of its own makes one call"


def _browser(name: str, about: str, arguments: type[Any], work: Any, alone: Any = None) -> BuiltIn[Any]:
    # Idempotent: asking again does no harm, but the web may have changed.
    return BuiltIn(name, about, "idempotent", arguments, work, alone, parts=("browser",))


BROWSER = (
    _browser(
        "browser.search",
        "Search the web. The results are links to open by their number with browser.open.",
        Search,
        search,
    ),
    _browser(
        "browser.open",
        "Open a web page or a link, or scroll an open page to another line. It begins with the page's cursor "
        "in brackets, `[3]`, and its lines are numbered. Cite what you take from it as `【cursor†L8-L11】`.",
        Open,
        open_,
        _open_alone,
    ),
    _browser(
        "browser.find",
        "Find a text on an open page. The matches are links to open by their number with browser.open.",
        Find,
        find,
        _find_alone,
    ),
)
