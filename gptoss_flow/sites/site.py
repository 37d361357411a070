"""Reads a host and port strictly: whatever two parsers or resolvers could read in two ways is refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import idna

from gptoss_flow.escape import one_line
from gptoss_flow.sites.addresses import Address

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_SHOWN = 100


class BadSite(ValueError):
    """What is wrong with a host or a URL; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Site:
    """A host and its port: `host` is a name in ASCII and lower case, or the canonical text of `address`."""

    host: str
    port: int
    address: Address | None = None

    def __str__(self) -> str:
        return f"{self.bare}:{self.port}"

    @property
    def bare(self) -> str:
        """The host as in a URL, without the port."""
        return f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host

    @property
    def is_local_name(self) -> bool:
        return self.host == "localhost" or self.host.endswith(".localhost")


def parse_site(authority: str, default_port: int) -> Site:
    """The part of a URL between `//` and the path. Raises `BadSite`."""
    if "@" in authority:
        raise BadSite("a user name or password may not stand in it")
    if "%" in authority or "\\" in authority:
        raise BadSite(f'its host may not hold "{"%" if "%" in authority else chr(92)}"')
    host, colon, port_text = authority.rpartition(":") if _has_port(authority) else (authority, "", "")
    port = default_port
    if colon and (not _PORT.fullmatch(port_text) or not 1 <= (port := int(port_text)) <= 65535):
        raise BadSite(f'"{_shown(port_text)}" is no port')
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
        raise BadSite(f'"{_shown(host)}" is no IPv6 address') from None


def _ipv4(name: str) -> IPv4Address:
    try:
        return IPv4Address(name)
    except ValueError:
        # Browsers and resolvers read 127.1, 0x7f000001, 017700000001 and the like, each a little differently.
        raise BadSite(f'"{_shown(name)}" is no IPv4 address; write four decimal numbers, as 192.0.2.1') from None


def _ascii(host: str) -> str:
    """A name in lower case and ASCII (IDNA), without a dot at its end."""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True, std3_rules=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise BadSite(f'"{_shown(host)}" is no host name') from None
    name = host.lower().removesuffix(".")
    if not name or len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadSite(f'"{_shown(host)}" is no host name')
    return name


def _shown(text: str) -> str:
    line = one_line(text[:_SHOWN])
    return line if len(text) <= _SHOWN else f"{line}…"
