"""How a text of a run stands in the page: what cannot be seen made visible, long texts in pieces."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from gptoss_flow.escape import for_terminal, is_unsafe, visible

LONG = 2500
"""Characters; a longer text is folded."""
_PREVIEW = 400
_PIECE = 20_000
"""Characters that a browser lays out at once; the pieces out of sight wait."""
_MOST_MARKS = 2000
"""Runs of escapes that are set off from the text; a text with more of them has plain ones."""
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f"
    "\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001345f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001-\U000e007f]+"
)


@dataclass(frozen=True, slots=True)
class Shown:
    text: str
    is_json: bool
    same_as: str = ""
    """The anchor of the step where the same text stands already."""


def marked(text: str) -> Markup:
    """Escaped for HTML, with each run of characters that cannot be seen as `<i>\\x1b</i>`."""
    if text.isprintable():
        return escape(text)
    parts, at = [], 0
    found = list(_CONTROLS.finditer(text))
    if not found or len(found) > _MOST_MARKS:
        return escape(for_terminal(text))
    for match in found:
        parts.append(escape(for_terminal(text[at : match.start()])))
        parts.append(Markup("<i>%s</i>") % "".join(map(_one, match[0])))
        at = match.end()
    return Markup("").join([*parts, escape(for_terminal(text[at:]))])


def _one(char: str) -> str:
    return visible(char) if is_unsafe(char) else char


def preview(text: str) -> Markup:
    return marked(text[:_PREVIEW].rsplit("\n", 1)[0] if text.count("\n", 0, _PREVIEW) > 3 else text[:_PREVIEW])


def chunks(text: str) -> list[Markup]:
    """The text in pieces that end with a line where there are any, each a block of its own."""
    pieces, at = [], 0
    while len(text) - at > _PIECE:
        cut = text.rfind("\n", at, at + _PIECE)
        if cut < 0:
            cut = text.find("\n", at + _PIECE)
            if cut < 0:
                break
        pieces.append(marked(text[at:cut]))
        at = cut + 1
    return [*pieces, marked(text[at:])]
