"""The tool `search_text`: the lines of a folder's text files that hold a text, or match an expression."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.patterns import compile_pattern
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.walk import Entry, walk
from gptoss_flow.tools.workspace import Place, locate, opened, read_text, refusal

MAX_FILE_BYTES = 8 << 20
MAX_READ_BYTES = 512 << 20
LINE_CHARS = 400
"""Of a longer line so much is shown, around what was found."""


Find = Callable[[str], int | None]
"""Says of a line where what is looked for begins in it."""


class SearchText(Arguments):
    pattern: Annotated[str, Field(min_length=1, max_length=1000)]
    """What to look for."""
    path: str = "."
    """A folder or a file, relative to the workspace."""
    glob: str | None = None
    """Which files, as in a .gitignore: `*.py`, `src/**/*.md`."""
    regex: bool = False
    """The pattern is a regular expression (RE2: no look-around, no back-references)."""
    ignore_case: bool = False
    """Capitals and small letters are the same."""
    max_results: Annotated[int, Field(ge=1, le=1000)] = 100
    """The most lines to give back."""
    context_lines: Annotated[int, Field(ge=0, le=10)] = 0
    """So many lines before and after each."""


def search_text(arguments: SearchText, context: ToolContext) -> Json:
    find = _finder(arguments)
    place = locate(arguments.path, context)
    files = _files(place, arguments)
    results: list[dict[str, Json]] = []
    searched = skipped = read = 0
    more = False
    for entry in files:
        if more or read >= MAX_READ_BYTES:
            more = True
            break
        said = posixpath.normpath(posixpath.join(arguments.path, entry.path))
        here = Place(place.root, (*place.parts, *entry.parts), said)
        try:
            text, size = read_text(here, MAX_FILE_BYTES)
        except StepError:  # it went away, or may not be read
            skipped += 1
            continue
        if text is None or size > MAX_FILE_BYTES:
            skipped += 1
            continue
        searched += 1
        read += size
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if (at := find(line.removesuffix("\r"))) is None:
                continue
            if len(results) == arguments.max_results:
                more = True
                break
            results.append(_result(here.said, lines, number, at, arguments.context_lines))
    return {"results": results, "files_searched": searched, "files_skipped": skipped, "more": more}


def _files(place: Place, arguments: SearchText) -> list[Entry]:
    """The files to look at, by path. A file by itself is an entry without parts."""
    try:
        found = walk(place, include=[arguments.glob] if arguments.glob else ())
    except StepError:
        try:
            with opened(place):
                return [Entry((), 0)]
        except StepError:
            pass
        raise
    return sorted(found.files, key=lambda entry: entry.parts)


def _finder(arguments: SearchText) -> Find:
    """In time linear in the line, whoever wrote the pattern."""
    wanted = arguments.pattern
    if not arguments.regex:
        if not arguments.ignore_case:
            return lambda line: at if (at := line.find(wanted)) >= 0 else None
        small = wanted.lower()
        return lambda line: at if (at := line.lower().find(small)) >= 0 else None
    try:
        compiled = compile_pattern(wanted, ignore_case=arguments.ignore_case)
    except ValueError as error:
        raise refusal(f"the pattern is no expression that RE2 understands: {error}") from None

    def find(line: str) -> int | None:
        match = compiled.search(line)
        return match.start() if match else None

    return find


def _result(path: str, lines: list[str], number: int, at: int, around: int) -> dict[str, Json]:
    line = lines[number].removesuffix("\r")
    found: dict[str, Json] = {"path": path, "line": number + 1, "text": _cut(line, at)}
    if around:
        found["before"] = [_cut(each.removesuffix("\r")) for each in lines[max(0, number - around) : number]]
        found["after"] = [_cut(each.removesuffix("\r")) for each in lines[number + 1 : number + 1 + around]]
    return found


def _cut(line: str, at: int = 0) -> str:
    if len(line) <= LINE_CHARS:
        return line
    start = max(0, min(at - LINE_CHARS // 4, len(line) - LINE_CHARS))
    kept = line[start : start + LINE_CHARS]
    return ("…" if start else "") + kept + ("…" if start + LINE_CHARS < len(line) else "")


SEARCH_TEXT = BuiltIn(
    name="search_text",
    description=(
        "Find lines in the text files of the workspace, each with its path and line number. What .gitignore "
        "leaves out is left out, and so are binary and very large files. `more` says that there are further ones."
    ),
    effect="pure",
    arguments=SearchText,
    work=search_text,
)
