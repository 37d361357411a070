"""Reads a URL strictly, once: what is dialled, what is sent and what is judged all come from these parts.

Nothing is guessed: whatever two parsers could read in two ways is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote, urljoin

import idna

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser.addresses import Address
from gptoss_flow.tools.workspace import refusal

MAX_CHARS = 8192
PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(#.*)?", re.IGNORECASE | re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_PATH_CHARS = "/?:@!$&'()*+,;=-._~%[]|^"
_SHOWN = 200


class BadUrl(Exception):
    """What is wrong with a URL or a host; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Site:
    """A host and its port: `host` is a name in ASCII and lower case, or the canonical text of `address`."""

    host: str
    port: int
    address: Address | None = None

    def __str__(self) -> str:
        return (
            f"[{self.host}]:{self.port}" if isinstance(self.address, IPv6Address) else f"{self.host}:{self.port}"
        )


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
    except BadUrl as wrong:
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
        raise BadUrl(f"it has more than {MAX_CHARS:,} characters")
    if any(char <= " " or char == "\x7f" for char in text.replace(" ", "")):
        raise BadUrl("it has control characters")
    match = _URL.fullmatch(text)
    if match is None:
        other = _SCHEME.match(text)
        if other and other[0].lower() not in PORTS:
            raise BadUrl(f'only http and https are opened, not "{other[0][:40]}:"')
        raise BadUrl("write the whole address, as https://example.org/page")
    scheme = match[1].lower()
    site = parse_site(match[2], PORTS[scheme])
    target = match[3] if match[3].startswith("/") else f"/{match[3]}"
    return Url(scheme, site, quote(target, safe=_PATH_CHARS))


def parse_site(authority: str, default_port: int) -> Site:
    """The part of a URL between `//` and the path. Raises `BadUrl`."""
    if "@" in authority:
        raise BadUrl("a user name or password may not stand in it")
    if "%" in authority or "\\" in authority:
        raise BadUrl(f'its host may not hold "{"%" if "%" in authority else chr(92)}"')
    host, colon, port_text = authority.rpartition(":") if _has_port(authority) else (authority, "", "")
    port = default_port
    if colon and (not _PORT.fullmatch(port_text) or not 1 <= (port := int(port_text)) <= 65535):
        raise BadUrl(f'"{one_line(port_text)}" is no port')
    if host.startswith("[") or host.endswith("]"):
        address = _ipv6(host)
        return Site(str(address), port, address)
    name = _ascii(host)
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        ipv4 = _ipv4(name)
        return Site(str(ipv4), port, ipv4)
    return Site(name, port)


def _has_port(authority: str) -> bool:
    return ":" in authority.rpartition("]")[2]


def _ipv6(host: str) -> IPv6Address:
    try:
        if host[0] + host[-1] != "[]":
            raise ValueError
        return IPv6Address(host[1:-1])
    except ValueError:
        raise BadUrl(f'"{one_line(host)}" is no IPv6 address') from None


def _ipv4(name: str) -> IPv4Address:
    try:
        return IPv4Address(name)
    except ValueError:
        # Browsers and resolvers read 127.1, 0x7f000001, 017700000001 and the like, each a little differently.
        raise BadUrl(f'"{name}" is no IPv4 address; write four decimal numbers, as 192.0.2.1') from None


def _ascii(host: str) -> str:
    """A name in lower case and ASCII (IDNA), without a dot at its end."""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise BadUrl(f'"{shown(host)}" is no host name') from None
    name = host.lower().removesuffix(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadUrl(f'"{shown(host)}" is no host name')
    return name
