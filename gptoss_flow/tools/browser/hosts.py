"""Which sites a call may open: what the flow's `permissions: {hosts: […]}` grant, and what is open to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gptoss_flow.escape import one_line
from gptoss_flow.tools.browser.addresses import why_not_public
from gptoss_flow.tools.browser.urls import BadUrl, Site, Url, parse_site, refused
from gptoss_flow.tools.workspace import refusal

USUAL_PORTS = (80, 443)
KEY = "permissions: {hosts: […]}"

Where = Literal["public", "anywhere"]
"""Where the addresses of an admitted site may lie: only on the internet, or on this machine or network too."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of `hosts`. `port` 0: the usual ones."""

    site: Site
    below: bool
    """`*.example.org`: any name below it, not itself."""

    def matches(self, site: Site) -> bool:
        if site.port != self.site.port if self.site.port else site.port not in USUAL_PORTS:
            return False
        return site.host.endswith(f".{self.site.host}") if self.below else site.host == self.site.host


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be opened: what a rule names, the `own` site of the user's word, and, if `rest`, any public one."""

    rules: tuple[Rule, ...] = ()
    rest: bool = False
    own: Site | None = None

    @classmethod
    def granted(cls, hosts: Sequence[str], *, rest: bool) -> Reach:
        """By a flow's `hosts`. `rest`: whether any public site may be opened where there are none."""
        return cls(tuple(map(parse_rule, hosts)), rest and not hosts)

    def admit(self, url: Url) -> Where:
        """Where the site may lie. Raises `StepError` if it may not be opened, before any name is looked up."""
        site = url.site
        if site == self.own:
            return "anywhere"
        rule = next((rule for rule in self.rules if rule.matches(site)), None)
        if rule is None and not self.rest:
            listed = ", ".join(_text(rule) for rule in self.rules)
            raise refused(url, f"the flow grants {listed or 'no hosts'}; add {_suggested(site)} to {KEY}")
        if rule is None and site.port not in USUAL_PORTS:
            raise refused(url, f"port {site.port} is neither 80 nor 443; the flow may grant {site} in {KEY}")
        if site.address is not None and (why := why_not_public(site.address)):
            if rule is not None:
                return "anywhere"
            raise refused(url, f"{site.host} is {why}; the flow may grant {site} in {KEY}")
        if _is_local_name(site.host):
            raise refused(url, _NO_NAMES)
        return "public"


_NO_NAMES = "a name never stands for this machine; name the address and grant it with its port, as 127.0.0.1:8080"


def parse_rule(text: str) -> Rule:
    """An entry of `hosts`. Raises `StepError` that says what is wrong with it and what is allowed."""
    below = text.startswith("*.")
    try:
        site = parse_site(text.removeprefix("*."), 0)
        if below and site.address is not None:
            raise BadUrl("an address has no names below it")
        if site.address is not None and why_not_public(site.address) and not site.port:
            raise BadUrl(f"{site.host} is {why_not_public(site.address)} and is granted with its port only")
    except BadUrl as wrong:
        allowed = "write example.org, *.example.org, example.org:8443 or an address with its port, 127.0.0.1:8080"
        raise refusal(f'the granted host "{one_line(text)}": {wrong}; {allowed}') from None
    if _is_local_name(site.host):
        raise refusal(f'the granted host "{one_line(text)}": {_NO_NAMES}')
    return Rule(site, below)


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _text(rule: Rule) -> str:
    host = ("*." if rule.below else "") + (str(rule.site).rpartition(":")[0])
    return f"{host}:{rule.site.port}" if rule.site.port else host


def _suggested(site: Site) -> str:
    needs_port = site.port not in USUAL_PORTS or (site.address is not None and why_not_public(site.address))
    return str(site) if needs_port else str(site).rpartition(":")[0]
