"""How two states of a flow's lock differ: as lines for people, and as what makes a lock out of date."""

from __future__ import annotations

from collections.abc import Iterator

from gptoss_flow.app.lock_pins import pinned_tools
from gptoss_flow.lang.lock import LockedFlow, LockedServer, LockedSource, LockedToolServer
from gptoss_flow.tools.mcp.listing import Listing, changes

SHOWN_DIGITS = 12
"""How much of a hash is told of what was changed; the lock has all of it."""


def differences(before: LockedFlow, after: LockedFlow) -> list[str]:
    """What locking changed, a line each: `+` is new, `-` gone, `~` another."""
    lines = []
    for ref in sorted({*before.sources, *after.sources}):
        lines += _change(ref, _pin_text(before.sources.get(ref)), _pin_text(after.sources.get(ref)))
    for name in sorted({*before.servers, *after.servers}):
        one, other = before.servers.get(name), after.servers.get(name)
        if one and other and one.profile == other.profile and one.models != other.models:
            lines.append(f"~ server {name}: its models")
        else:
            lines += _change(f"server {name}", _short(one), _short(other))
    for name in sorted({*before.tool_servers, *after.tool_servers}):
        pinned, found = before.tool_servers.get(name), after.tool_servers.get(name)
        if pinned and found:
            lines += [f"~ tool server {name}: {said}" for said in _changed_tools(name, pinned, found)]
        else:
            lines += _change(f"tool server {name}", _tool_names(pinned), _tool_names(found))
    return lines


def _tool_names(server: LockedToolServer | None) -> str | None:
    return None if server is None else ", ".join(server.tools) or "no tools"


def _changed_tools(name: str, before: LockedToolServer, after: LockedToolServer) -> Iterator[str]:
    yield from changes(name, pinned_tools(before), Listing(pinned_tools(after)))
    for tool in after.tools.keys() - before.tools.keys():
        yield f"{name}.{tool} is new"
    if before.config != after.config:
        yield "how it is run"


def _change(what: str, before: str | None, after: str | None) -> list[str]:
    if before == after:
        return []
    if before is None:
        return [f"+ {what}: {after}"]
    return [f"- {what}"] if after is None else [f"~ {what}: {before} -> {after}"]


def _short(server: LockedServer | None) -> str | None:
    return f"profile {server.profile[:SHOWN_DIGITS]}…" if server else None


def _pin_text(source: LockedSource | None) -> str | None:
    if source is None:
        return None
    sha256 = f"sha256 {source.sha256[:SHOWN_DIGITS]}…"
    return f"commit {source.commit[:SHOWN_DIGITS]}…, {sha256}" if source.commit else sha256


def out_of_date(known: LockedFlow, now: LockedFlow) -> Iterator[tuple[tuple[str, ...], str]]:
    """In what a flow's part of a lock is not what the flow is now: places within that part, and what is wrong."""
    for ref in known.sources.keys() - now.sources.keys():
        yield ("sources", ref), f"{ref} is pinned, and the flow does not use it"
    for name in known.servers.keys() | now.servers.keys():
        one, other = known.servers.get(name), now.servers.get(name)
        place = ("servers", name)
        if one is None:
            yield place, f"server {name} is not in the lock"
        elif other is None:
            yield place, f"the flow has no server {name}"
        elif one.profile != other.profile:
            yield place, f"the profile of server {name} has the hash {other.profile}, the lock says {one.profile}"
        elif one.models != other.models:
            yield place, f"server {name} has another model than the lock says"
    for name in known.tool_servers.keys() | now.tool_servers.keys():
        pinned, found = known.tool_servers.get(name), now.tool_servers.get(name)
        where = ("tool_servers", name)
        if pinned is None:
            yield where, f"tool server {name} is not in the lock"
        elif found is None:
            yield where, f"the flow has no tool server {name}"
        elif pinned.config != found.config:
            yield where, f"tool server {name} is run in another way than when it was locked"
