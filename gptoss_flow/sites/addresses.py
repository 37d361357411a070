"""Which IP addresses are anybody's on the internet, and which are this machine's, this network's or nobody's.

Python's `is_private` and `is_global` differ between versions and say nothing of IPv4 addresses inside IPv6 ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_V4 = {
    IPv4Network(network): what
    for network, what in {
        "0.0.0.0/8": "this host",
        "10.0.0.0/8": "a private network",
        "100.64.0.0/10": "a carrier's network",
        "127.0.0.0/8": "loopback",
        "168.63.129.16/32": "a cloud's own services",  # Azure's, on every virtual machine; in no registry
        "169.254.0.0/16": "link-local",
        "172.16.0.0/12": "a private network",
        "192.0.0.0/24": "reserved for protocols",
        "192.0.2.0/24": "reserved for documentation",
        "192.88.99.0/24": "a relay of 6to4",
        "192.168.0.0/16": "a private network",
        "198.18.0.0/15": "reserved for benchmarks",
        "198.51.100.0/24": "reserved for documentation",
        "203.0.113.0/24": "reserved for documentation",
        "224.0.0.0/4": "multicast",
        "240.0.0.0/4": "reserved",
    }.items()
}
_V6 = {
    IPv6Network(network): what
    for network, what in {
        "::/128": "this host",
        "::1/128": "loopback",
        "::/96": "an IPv4 address in disguise",
        "64:ff9b:1::/48": "a translator's network",
        "100::/64": "discarded",
        "2001::/32": "a tunnel (Teredo)",
        "2001::/23": "reserved for protocols",
        "2001:db8::/32": "reserved for documentation",
        "2002::/16": "a tunnel (6to4)",
        "3ffe::/16": "given back (6bone)",
        "3fff::/20": "reserved for documentation",
        "5f00::/16": "segment routing",
        "fc00::/7": "a private network",
        "fe80::/10": "link-local",
        "fec0::/10": "site-local",
        "ff00::/8": "multicast",
    }.items()
}
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = {0x00005EFE, 0x02005EFE}


def why_not_public(address: Address) -> str:
    """What kind of address it is if not one that anybody on the internet can be asked at; empty if it is."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _V4.items() if address in network), "")
    for inner, wrapping in embedded(address):
        if why := why_not_public(inner):
            return f"{why}, as {inner} {wrapping}"
    if address.ipv4_mapped is not None or address in _NAT64:
        return ""
    if why := next((what for network, what in _V6.items() if address in network), ""):
        return why
    return "" if address in _GLOBAL_UNICAST else "not assigned"


def embedded(address: IPv6Address) -> Iterator[tuple[IPv4Address, str]]:
    """The IPv4 addresses that a packet to this one may end up at, and how each is wrapped."""
    number = int(address)
    low = IPv4Address(number & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield low, "mapped into IPv6"
    if number >> 32 == 0 and number > 1:
        yield low, "in IPv6"
    if address in _NAT64:
        yield low, "behind NAT64"
    if address.sixtofour is not None:
        yield address.sixtofour, "behind 6to4"
    if address.teredo is not None:
        server, client = address.teredo
        yield server, "as a Teredo server"
        yield client, "behind Teredo"
    if (number >> 32) & 0xFFFFFFFF in _ISATAP:
        yield low, "behind ISATAP"


def unmapped(address: Address) -> Address:
    """The address that is really dialled: an IPv4-mapped one is that IPv4 address."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
