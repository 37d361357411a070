"""Draws servers and their health as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import duration_text
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.table import table

HEAD = ("NAME", "ID", "MODEL", "SIZE", "ENGINE", "URL", "CONTEXT", "SLOTS", "USERS", "UNTIL")


def draw_servers(servers: Sequence[Mapping[str, Json]]) -> str:
    """A table, one line for each; the mappings are those of `app.servers.server_json`."""
    rows = [
        (
            *(str(server[key]) for key in ("name", "id", "model")),
            _size(server["size_bytes"]),
            *(str(server[key]) for key in ("engine", "url", "context_tokens", "slots", "users")),
            _until(server),
        )
        for server in servers
    ]
    return table(HEAD, rows)


def draw_server(server: Mapping[str, Json]) -> str:
    """One server, a line for each thing that its user needs."""
    return _pairs(
        {
            "url": server["url"],
            "key": f"in {short_path(server['key_file'])}",
            "pid": server["pid"],
            "model": f"{server['model']} ({_size(server['size_bytes'])}, {server['engine']})",
            "slots": _slots(server),
            "id": server["id"],
            "until": _until(server),
            "log": server["log"],
        }
    )


def draw_health(health: Mapping[str, Json]) -> str:
    """One server's health; the mapping is that of `app.servers.health_json`."""
    sample, busy = health["sample"], health["slots_busy"]
    said = {
        "server": health["name"],
        "state": f"{health['state']}: {health['problem']}" if health["problem"] else health["state"],
        "url": health["url"],
        "model": f"{health['model']} ({health['engine']})",
        "slots": _slots(health) + (f", {busy} busy" if busy is not None else ""),
    }
    if sample:
        first, total = f"{sample['ttft_s']:.3f} s", f"{sample['total_s']:.3f} s"
        said["sample"] = f"{sample['tokens']} tokens in {total}, the first after {first}: {sample['text']!r}"
    return _pairs(said)


def _pairs(said: Mapping[str, Json]) -> str:
    width = max(map(len, said))
    return "\n".join(f"{key:<{width}}  {one_line(str(value))}" for key, value in said.items())


def _slots(server: Mapping[str, Json]) -> str:
    return f"{server['slots']} of {server['context_tokens']} tokens"


def _size(count: Json) -> str:
    if count is None:
        return "?"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _until(server: Mapping[str, Json]) -> str:
    if server["state"] == "stopping":
        return "Stopping..."
    match server["idle_timeout_s"]:
        case -1:
            return "Forever"
        case 0:
            return "last user leaves"
        case idle_s:
            return f"{duration_text(idle_s)} after last use"
