"""The tools that a lock pins: what each tool server of a flow, and of the flows inside it, may offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gptoss_flow.app.lock_content import all_flows, tool_servers_of
from gptoss_flow.app.lock_file import lock_path, read_lock_file
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.lock import LockedToolServer
from gptoss_flow.tools.mcp.listing import ListedTool, Pinned


def pinned_tools(server: LockedToolServer) -> Pinned:
    return {n: ListedTool(n, tool.description, tool.parameters) for n, tool in server.tools.items()}


def pins_by_flow(root: LoadedFlow) -> dict[int, Mapping[str, Pinned]]:
    """`pins_of` of the flow and of each of those inside it, by its `id`. Raises `Invalid`."""
    pins = pins_of(root)
    return {id(each): pins(each) for _, each in all_flows(root)}


def pins_of(root: LoadedFlow) -> Callable[[LoadedFlow], Mapping[str, Pinned]]:
    """What the lock of a flow has of the tool servers of it and of the flows inside it. Raises `Invalid`."""
    lock = read_lock_file(lock_path(root.path))
    known = lock.file.flows.get(root.path.name) if lock else None
    if known is None or not known.tool_servers:
        return lambda loaded: {}
    prefixes = {id(each): prefix for prefix, each in all_flows(root)}

    def pins(loaded: LoadedFlow) -> Mapping[str, Pinned]:
        prefix = prefixes.get(id(loaded), "")
        named = {name: known.tool_servers.get(f"{prefix}{name}") for name in tool_servers_of(loaded.data)}
        return {name: pinned_tools(server) for name, server in named.items() if server}

    return pins
