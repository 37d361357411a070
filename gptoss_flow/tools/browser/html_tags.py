"""What HTML's elements mean for a text: which are lines and paragraphs of their own, which are not to be seen."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gptoss_flow.words import word_set

UNSEEN = word_set(
    "script style template svg iframe object embed canvas audio video noframes datalist textarea head"
)
PARAGRAPHS = word_set(
    "p h1 h2 h3 h4 h5 h6 ul ol dl table pre blockquote section article header footer main nav aside figure form "
    "hr details fieldset address"
)
BLOCKS = PARAGRAPHS | word_set(
    "div li dt dd tr caption thead tbody tfoot figcaption summary option dialog center body"
)
PREFIXED = word_set("h1 h2 h3 h4 h5 h6 li dd blockquote")
CELLS = frozenset({"td", "th"})
_HIDING = re.compile(
    r"(display:none|visibility:hidden|(font-size|opacity):(0+(\.0*)?|\.0+)[a-z%]*(!important)?(;|$))",
    re.IGNORECASE,
)


def is_hidden(tag: str, attributes: Mapping[str, str]) -> bool:
    """Whether an element says itself that it is not to be seen; what a style sheet says is not known."""
    if tag == "dialog" and "open" not in attributes:
        return True
    if not attributes:
        return False
    if "hidden" in attributes or attributes.get("aria-hidden", "").lower() == "true":
        return True
    style = attributes.get("style", "")
    return bool(style) and _HIDING.search("".join(style[:2000].split())) is not None
