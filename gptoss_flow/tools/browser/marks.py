"""The marks that gpt-oss knows: links in a text `【id†text†host】`, and cited lines `【cursor†L3-L5】`."""

from __future__ import annotations

import re

_BRACKETS = str.maketrans("【】", "〖〗")
_NUMBER = re.compile(r"\s*[0-9]{1,9}\s*")
_BEGIN = re.compile(r"【\d+†")
_END = re.compile(r"(†[^†【】]*)?】")


def is_link_number(text: str) -> bool:
    """Whether it is what some models write for the number of a link."""
    return _NUMBER.fullmatch(text) is not None


def plain(text: str) -> str:
    """A page's own text: it cannot hold a mark that we did not make."""
    return text.translate(_BRACKETS)


def begin(number: int) -> str:
    return f"【{number}†"


def end(host: str = "") -> str:
    """`host` is named where the link leaves the page's own."""
    return f"†{host}】" if host else "】"


def link(number: int, text: str, host: str = "") -> str:
    """A whole link; `text` is of a page or a search."""
    return begin(number) + plain(text).replace("†", "‡") + end(plain(host))


def without_links(text: str) -> str:
    """The text with only the words of its links, also where a line's end cuts one in two."""
    return _END.sub("", _BEGIN.sub("", text))
