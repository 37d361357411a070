"""What one entry of `permissions: {hosts: […]}` grants."""

from __future__ import annotations

from dataclasses import dataclass

from gptoss_flow.sites.addresses import why_not_public
from gptoss_flow.sites.site import BadSite, Site, parse_site

USUAL_PORTS = (80, 443)
KEY = "permissions: {hosts: […]}"
NO_NAMES = "a name never stands for this machine; name the address and grant it with its port, as 127.0.0.1:8080"
_ALLOWED = "write example.org, *.example.org, example.org:8443 or an address with its port, 127.0.0.1:8080"


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `hosts`. The port 0 stands for the usual ones."""

    site: Site
    below: bool
    """`*.example.org`: any name below it, not itself."""

    def __str__(self) -> str:
        text = str(self.site) if self.site.port else self.site.bare
        return f"*.{text}" if self.below else text

    def matches(self, site: Site) -> bool:
        if site.port != self.site.port if self.site.port else site.port not in USUAL_PORTS:
            return False
        return site.host.endswith(f".{self.site.host}") if self.below else site.host == self.site.host


def parse_rule(text: str) -> Rule:
    """Raises `BadSite` that says what is wrong with it and what is allowed."""
    below = text.startswith("*.")
    try:
        if "/" in text:
            raise BadSite("it is a host and a port, without scheme and path")
        site = parse_site(text.removeprefix("*."), 0)
        if below and site.address is not None:
            raise BadSite("an address has no names below it")
        if site.address is not None and not site.port and (why := why_not_public(site.address)):
            raise BadSite(f"{site.host} is {why} and is granted with its port only")
    except BadSite as wrong:
        raise BadSite(f"{wrong}; {_ALLOWED}") from None
    if site.is_local_name:
        raise BadSite(NO_NAMES)
    return Rule(site, below)


def how_to_grant(site: Site, key: str = KEY) -> str:
    """What lets this site be asked, and no other."""
    if site.is_local_name:
        return f"a name never stands for this machine; ask 127.0.0.1:{site.port}, and add that to {key}"
    needs_port = site.port not in USUAL_PORTS or (site.address is not None and why_not_public(site.address))
    return f"add {site if needs_port else site.bare} to {key}"
