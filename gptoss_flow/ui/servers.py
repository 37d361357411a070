"""Draws servers and their health as text for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.fields import duration_text
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.table import table

HEAD = ("NAME", "ID", "MODEL", "SIZE", "ENGINE", "URL", "CONTEXT", "SLOTS", "USERS", "UNTIL")
_UNITS = (("second", 1, 100), ("minute", 60, 100), ("hour", 3600, 48))
"""Each with how many of it are not yet told in the next."""


def draw_servers(servers: Sequence[Mapping[str, Json]], width: int | None = None) -> str:
    """A table, one line for each; the mappings are those of `app.servers.server_json`.

    Where it is wider than `width`, a block for each, with a line for each column.
    """
    rows = [
        (
            *(str(server[key]) for key in ("name", "id", "model")),
            _size(server["size_bytes"]),
            *(str(server[key]) for key in ("engine", "url", "context_tokens", "slots", "users")),
            _until(server),
        )
        for server in servers
    ]
    drawn = table(HEAD, rows)
    if width is None or not rows or max(map(len, drawn.splitlines())) <= width:
        return drawn
    return "\n\n".join(_pairs(dict(zip(map(str.lower, HEAD), row, strict=True))) for row in rows)


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
    if health["keepalive"] is not None:
        said["keepalive"] = _keepalive(health["keepalive"], time.time())
    if sample:
        first, total = f"{sample['ttft_s']:.3f} s", f"{sample['total_s']:.3f} s"
        said["sample"] = f"{sample['tokens']} tokens in {total}, the first after {first}: {sample['text']!r}"
    return _pairs(said)


def draw_keepalives(servers: Sequence[Mapping[str, Json]]) -> str:
    """A line for each; the mappings are those of `app.server_care.keepalive_json`."""
    now = time.time()
    return "\n".join(one_line(f"{each['name']} ({each['id']}): {_keepalive(each, now)}") for each in servers)


def draw_warming(warming: Mapping[str, Json]) -> str:
    """A line for each completion and one for all; the mapping is that of `app.server_care.warming_json`."""
    lines = [f"slot {each['slot']}  {each['took_s']:.3f} s" for each in warming["completions"]]
    return "\n".join([*lines, one_line(f"{warming['name']} is warm after {warming['took_s']:.3f} s")])


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
        return "stopping"
    if server["stops_in_s"] is not None:
        return f"{_roughly(server['stops_in_s'])} from now"
    match server["idle_timeout_s"]:
        case -1:
            return "forever"
        case 0:
            return "with its last user"
        case idle_s:
            return f"{_roughly(idle_s)} after its last user"


def _roughly(seconds: float) -> str:
    fitting = ((unit, unit_s) for unit, unit_s, most in _UNITS if round(seconds / unit_s) < most)
    unit, unit_s = next(fitting, ("day", 86400))
    count = round(seconds / unit_s)
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _keepalive(keepalive: Mapping[str, Json], now: float) -> str:
    if not keepalive.get("every_s"):
        return "off"
    count = keepalive["touches"]
    said = f"every {duration_text(keepalive['every_s'])}: {count} touch{'' if count == 1 else 'es'}"
    if keepalive["last_at"] is not None:
        ago = _roughly(max(0.0, now - keepalive["last_at"]))
        said += f", the last {ago} ago in {keepalive['last_took_s']:.3f} s"
    return said + (f"; waits: {keepalive['waits']}" if keepalive["waits"] else "")
