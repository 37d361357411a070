"""Which addresses are public, held against IANA's registries of special addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.sites.addresses import unmapped, why_not_public

NOT_GLOBAL_4 = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
192.0.0.0/29 192.0.0.8/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.88.99.0/24 192.88.99.2/32
192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32 224.0.0.0/4
"""
"""IANA IPv4 Special-Purpose Address Registry: Globally Reachable is False or N/A; and multicast.

Of what is True, 192.0.0.9/32 and 192.0.0.10/32 (anycast of protocols) serve no web and are closed too.
"""
NOT_GLOBAL_6 = """
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001:2::/48 2001:10::/28 2001:db8::/32 2001::/32 2001::/23
2002::/16 3fff::/20 5f00::/16 fc00::/7 fe80::/10 ff00::/8 fec0::/10 ::/8 400::/6 800::/5 1000::/4 4000::/3 6000::/3
8000::/3 a000::/3 c000::/3 e000::/4 f000::/5 f800::/6 fe00::/9
"""
"""The same of IPv6, and what of the whole space (RFC 4291) is not global unicast."""
MAY_BE_GLOBAL_6 = ["64:ff9b::/96", "::ffff:0:0/96"]
"""As what is inside them. Of the exceptions within 2001::/23 none serves the web: all of it is closed."""

networks4 = [IPv4Network(each) for each in NOT_GLOBAL_4.split()]
networks6 = [IPv6Network(each) for each in NOT_GLOBAL_6.split()]
exempt6 = [IPv6Network(each) for each in MAY_BE_GLOBAL_6]
addresses4 = st.integers(0, 2**32 - 1).map(IPv4Address)
special4 = st.sampled_from(networks4).flatmap(
    lambda net: st.integers(0, net.num_addresses - 1).map(lambda n: net.network_address + n)
)
special6 = st.sampled_from(networks6).flatmap(
    lambda net: st.integers(0, net.num_addresses - 1).map(lambda n: net.network_address + n)
)


def is_special(address: IPv4Address) -> bool:
    return any(address in net for net in networks4) or str(address) == "168.63.129.16"


public4 = addresses4.filter(lambda address: not is_special(address))
prefixes = st.integers(0x2400 << 48, 0x2C00 << 48).map(lambda high: high << 64)


def compatible(inner: int, prefix: int) -> int:
    return inner


def mapped(inner: int, prefix: int) -> int:
    return 0xFFFF << 32 | inner


def nat64(inner: int, prefix: int) -> int:
    return int(IPv6Address("64:ff9b::")) | inner


def nat64_here(inner: int, prefix: int) -> int:
    return int(IPv6Address("64:ff9b:1::")) | inner


def sixtofour(inner: int, prefix: int) -> int:
    return 0x2002 << 112 | inner << 80 | 1


def teredo(inner: int, prefix: int) -> int:
    return 0x20010000 << 96 | 0x01020304 << 64 | inner ^ 0xFFFFFFFF


def teredo_server(inner: int, prefix: int) -> int:
    return 0x20010000 << 96 | inner << 64 | 0x01020304


def isatap(inner: int, prefix: int) -> int:
    return prefix | 0x00005EFE << 32 | inner


def isatap_unique(inner: int, prefix: int) -> int:
    return prefix | 0x02005EFE << 32 | inner


WRAPPINGS = [
    compatible, mapped, nat64, nat64_here, sixtofour, teredo, teredo_server, isatap, isatap_unique,
]  # fmt: skip
CARRY_PUBLIC_ONES = {mapped, nat64, isatap, isatap_unique}


@given(special4)
def test_no_special_ipv4_address_is_public(address: IPv4Address) -> None:
    assert why_not_public(address)


@given(addresses4)
def test_every_other_ipv4_address_is_public(address: IPv4Address) -> None:
    assert bool(why_not_public(address)) == is_special(address)


@given(special6)
def test_no_special_ipv6_address_is_public(address: IPv6Address) -> None:
    if not any(address in net for net in exempt6):
        assert why_not_public(address)


@given(st.integers(0, 2**125 - 1).map(lambda low: IPv6Address(1 << 125 | low)))
def test_every_other_ipv6_address_of_global_unicast_is_public(address: IPv6Address) -> None:
    carries = (int(address) >> 32) & 0xFDFFFFFF == 0x00005EFE
    if not any(address in net for net in (*networks6, IPv6Network("3ffe::/16"))) and not carries:
        assert why_not_public(address) == ""


@pytest.mark.parametrize("wrap", WRAPPINGS)
@given(special4, prefixes)
def test_a_special_address_in_any_wrapping_is_not_public(wrap: object, inner: IPv4Address, prefix: int) -> None:
    assert callable(wrap)
    assert why_not_public(IPv6Address(wrap(int(inner), prefix)))


@pytest.mark.parametrize("wrap", WRAPPINGS)
@given(public4, prefixes)
def test_a_public_address_is_reached_through_some_wrappings(wrap: object, inner: IPv4Address, prefix: int) -> None:
    assert callable(wrap)
    assert (why_not_public(IPv6Address(wrap(int(inner), prefix))) == "") == (wrap in CARRY_PUBLIC_ONES)


@given(addresses4)
def test_what_is_dialled_for_a_mapped_address_is_the_one_inside(address: IPv4Address) -> None:
    assert unmapped(IPv6Address(mapped(int(address), 0))) == address


def test_the_words_name_the_kind_and_the_wrapping() -> None:
    assert why_not_public(IPv4Address("169.254.169.254")) == "link-local"
    assert why_not_public(IPv4Address("168.63.129.16")) == "a cloud's own services"
    assert why_not_public(IPv6Address("64:ff9b::a00:1")) == "a private network, as 10.0.0.1 behind NAT64"
    assert why_not_public(IPv6Address("2001:db8::1")) == "reserved for documentation"
    assert why_not_public(IPv6Address("4000::1")) == "not assigned"
