"""Reads a URL strictly, once: what is dialled, what is sent and what is judged all come from these parts.

Nothing is guessed: whatever two parsers could read in two ways is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, urljoin

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.sites.site import BadSite, Site, parse_site
from gptoss_flow.tools.workspace import refusal

MAX_CHARS = 8192
PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(#.*)?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_PATH_CHARS = "/?:@!$&'()*+,;=-._~%[]|^"
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Url:
    scheme: str
    site: Site
    target: str
    """Path and query, percent-encoded ASCII; what is sent."""

    @property
    def authority(self) -> str:
        """As in a Host header: without the scheme's own port."""
        text = str(self.site)
        return text.removesuffix(f":{PORTS[self.scheme]}") if self.site.port == PORTS[self.scheme] else text

    @property
    def origin(self) -> tuple[str, Site]:
        return self.scheme, self.site

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse_url(text: str) -> Url:
    """Raises `StepError` that says what is wrong with the URL and what is allowed."""
    try:
        return _parsed(text.strip(" "))
    except BadSite as wrong:
        raise refused(text, str(wrong)) from None


def join(base: Url, reference: str) -> Url:
    """The URL that a link or a redirect on the page `base` leads to. Raises as `parse_url` does."""
    try:
        joined = urljoin(str(base), reference)
    except ValueError:
        raise refused(reference, "is no address") from None
    return parse_url(joined)


def refused(url: object, why: str) -> StepError:
    return refusal(f'"{shown(url)}" is not opened: {why}')


def shown(url: object) -> str:
    """A URL in a message: on one line, of a bearable length."""
    text = one_line(str(url))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _parsed(text: str) -> Url:
    if len(text) > MAX_CHARS:
        raise BadSite(f"it has more than {MAX_CHARS:,} characters")
    if any(char <= " " or char == "\x7f" for char in text.replace(" ", "")):
        raise BadSite("it has control characters")
    match = _URL.fullmatch(text)
    if match is None:
        other = _SCHEME.match(text)
        if other and other[0].lower() not in PORTS:
            raise BadSite(f'only http and https are opened, not "{other[0][:40]}:"')
        raise BadSite("write the whole address, as https://example.org/page")
    scheme = match[1].lower()
    site = parse_site(match[2], PORTS[scheme])
    target = match[3] if match[3].startswith("/") else f"/{match[3]}"
    return Url(scheme, site, quote(target, safe=_PATH_CHARS))
