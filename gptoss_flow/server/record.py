"""What was written down about the servers that run, and whether it still holds.

A quick query reads this: on Linux it needs the standard library alone.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from gptoss_flow.server.guardian.child import start_ticks

if TYPE_CHECKING:
    from gptoss_flow.events import Json
if sys.platform != "linux":
    import platformdirs
    import psutil

NONCE_VARIABLE = "GPTOSS_FLOW_SERVER_NONCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRecord:
    """What the guardian wrote down about a server that it keeps; true only as far as it is proved."""

    nonce: str
    name: str
    """The profile's."""
    fingerprint: str
    folder: str
    boot_id: str
    network: str
    """The network namespace; empty where there are none."""
    host: str
    port: int
    engine: str
    build: str
    model_path: str
    slots: int
    context_tokens: int
    threads: int | None
    argv: list[str]
    socket: str
    log: str
    log_mark: str
    guardian_pid: int
    pid: int
    start_ticks: int | None
    started_at: float
    """Seconds since 1970."""
    state: str
    """`loading` or `ready`."""
    idle_timeout_s: float
    profile: dict[str, Json] = field(default_factory=dict)
    """The merged profile that it was started with, for another start of the same."""
    facts: dict[str, Json] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def state_root() -> Path:
    """The user's folder for state, which `platformdirs` would take 10 ms to tell."""
    if sys.platform != "linux":
        return Path(platformdirs.user_state_dir("gptoss-flow"))
    given = Path(os.environ.get("XDG_STATE_HOME", "").strip())
    return (given if given.is_absolute() else Path.home() / ".local/state") / "gptoss-flow"


def read_record(folder: Path) -> ServerRecord | None:
    """The record in this folder; None where there is none that can be understood."""
    try:
        data = json.loads((folder / "record.json").read_text("utf-8"))
        known = (each.name for each in fields(ServerRecord))
        return ServerRecord(**{name: data[name] for name in known if name in data})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_key(folder: Path) -> str | None:
    """The API key of the server recorded in this folder, None where it has none."""
    try:
        return (folder / "key").read_text("utf-8") or None
    except OSError:
        return None


def list_servers(state_root: Path) -> list[ServerRecord]:
    """Every recorded server, oldest first. A record is a claim: `untrue` and the guardian tell if it holds."""
    found = map(read_record, (state_root / "servers").glob("*"))
    return sorted((record for record in found if record), key=lambda record: record.started_at)


def untrue(record: ServerRecord) -> str:
    """Why this record cannot be of a server of ours that still runs, as far as the system shows; else ''."""
    if record.boot_id != boot_id():
        return "the machine was restarted since"
    if record.network != network_namespace():
        return "it is in another network namespace"
    if not _lives(record):
        return f"process {record.pid} has ended"
    if sys.platform == "linux" and not _has_nonce(record.pid, record.nonce):
        return f"process {record.pid} is not the one that was started"
    return ""


def _lives(record: ServerRecord) -> bool:
    """Whether the process with its pid started when it did."""
    if sys.platform != "linux":
        try:
            return abs(psutil.Process(record.pid).create_time() - record.started_at) <= 2
        except psutil.Error:
            return False
    return record.start_ticks is not None and start_ticks(record.pid) == record.start_ticks


def _has_nonce(pid: int, nonce: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{NONCE_VARIABLE}={nonce}".encode() in environment.split(b"\0")


def boot_id() -> str:
    """What changes when the machine restarts."""
    if sys.platform != "linux":
        return str(int(psutil.boot_time()))
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def network_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/net").readlink())
    except OSError:
        return ""
