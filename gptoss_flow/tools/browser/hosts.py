"""Which sites a call may open: what the flow's `permissions: {hosts: […]}` grant, and what is open to all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gptoss_flow.escape import one_line
from gptoss_flow.ports import Grants
from gptoss_flow.sites.addresses import why_not_public
from gptoss_flow.sites.rules import KEY, NO_NAMES, USUAL_PORTS, Rule, how_to_grant, parse_rule
from gptoss_flow.sites.site import BadSite, Site
from gptoss_flow.tools.browser.urls import Url, refused
from gptoss_flow.tools.workspace import refusal

Where = Literal["public", "anywhere"]
"""Where the addresses of an admitted site may lie: only on the internet, or on this machine or network too."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be opened: what a rule names, the `own` site of the user's word, and, if `rest`, any public one."""

    rules: tuple[Rule, ...] = ()
    rest: bool = False
    own: Site | None = None
    within: tuple[tuple[Rule, ...], ...] = ()
    """What each flow around this one grants."""

    @classmethod
    def granted(cls, grants: Grants, *, rest: bool) -> Reach:
        """By a flow's `hosts`. `rest`: whether any public site may be opened where there are none."""
        within = tuple(_rules(hosts) for hosts in grants.within)
        return cls(_rules(grants.hosts), rest and not grants.hosts, within=within)

    def admit(self, url: Url) -> Where:
        """Where the site may lie. Raises `StepError` if it may not be opened, before any name is looked up."""
        site = url.site
        if site == self.own:
            return "anywhere"
        rule = next((rule for rule in self.rules if rule.matches(site)), None)
        if rule is None and not self.rest:
            listed = ", ".join(map(str, self.rules)) or "no hosts"
            raise refused(url, f"the flow grants {listed}; {how_to_grant(site)}")
        for around in self.within:
            if not any(each.matches(site) for each in around):
                listed = ", ".join(map(str, around))
                raise refused(
                    url, f"a flow around this one grants {listed} alone; {how_to_grant(site, f'its {KEY}')}"
                )
        if rule is None and site.port not in USUAL_PORTS:
            raise refused(url, f"port {site.port} is neither 80 nor 443; the flow may grant {site} in {KEY}")
        if site.address is not None and (why := why_not_public(site.address)):
            if rule is not None:
                return "anywhere"
            raise refused(url, f"{site.host} is {why}; the flow may grant {site} in {KEY}")
        if site.is_local_name:
            raise refused(url, NO_NAMES)
        return "public"


def _rules(hosts: Sequence[str]) -> tuple[Rule, ...]:
    return tuple(map(_rule, hosts))


def _rule(text: str) -> Rule:
    try:
        return parse_rule(text)
    except BadSite as wrong:
        raise refusal(f'the granted host "{one_line(text)}": {wrong}') from None
