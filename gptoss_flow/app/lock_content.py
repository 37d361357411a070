"""What the lock of a loaded flow has to say: its sources, its servers' profiles and models, its tool servers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gptoss_flow.fields import is_template, json_text
from gptoss_flow.lang.load import LoadedFlow, profile_of_server, servers_of
from gptoss_flow.lang.lock import LockedFlow, LockedServer, LockedSource, LockedToolServer, digest, locked_server
from gptoss_flow.lang.profile_places import project_folder, search_path
from gptoss_flow.lang.profiles import NO_ENVIRON, resolve_profile
from gptoss_flow.server.hub import HubModel
from gptoss_flow.server.hub import find as find_in_hub
from gptoss_flow.server.model import Machine
from gptoss_flow.server.model_file import parts_of

_SHA256 = re.compile(r"[0-9a-f]{64}")


def all_flows(loaded: LoadedFlow) -> Iterator[tuple[str, LoadedFlow]]:
    """The flow and those that its steps run, each once, with what comes before the names of their servers."""
    waiting, seen = [loaded], set()
    while waiting:
        each = waiting.pop(0)
        if (file := each.path.resolve()) not in seen:
            seen.add(file)
            prefix = "" if each is loaded else f"{os.path.relpath(file, loaded.folder)}#"
            yield prefix, each
            waiting += each.flows.values()


def tool_servers_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's tool servers as written."""
    found = data.get("tool_servers")
    return found if isinstance(found, dict) else {}


def locked_flow(loaded: LoadedFlow, cwd: Path, known: LockedFlow | None) -> LockedFlow:
    """What the lock of a loaded flow has to say; `known`: what it says of models that are not on this machine."""
    root = project_folder(loaded.folder)
    servers = {
        f"{prefix}{name}": _server(each, cwd, name, given, root)
        for prefix, each in all_flows(loaded)
        for name, given in servers_of(each.data).items()
    }
    if known:
        servers = {name: _with_known(server, known.servers.get(name)) for name, server in servers.items()}
    used = loaded.sources.used
    sources = {ref: LockedSource(commit=pin.commit, sha256=str(pin.sha256)) for ref, pin in used.items()}
    tool_servers = {
        f"{prefix}{name}": LockedToolServer(config=digest(given, root))
        for prefix, each in all_flows(loaded)
        for name, given in tool_servers_of(each.data).items()
    }
    if known:
        tool_servers = {n: _with_pins(server, known.tool_servers.get(n)) for n, server in tool_servers.items()}
    return LockedFlow(sources=sources, servers=servers, tool_servers=tool_servers)


def _with_pins(server: LockedToolServer, known: LockedToolServer | None) -> LockedToolServer:
    """With the tools that were pinned of a server that is run as it was; to see what it has now takes a start."""
    if known is None or known.config != server.config:
        return server
    return server.model_copy(update={"tools": known.tools})


def _server(loaded: LoadedFlow, cwd: Path, name: str, given: Any, root: Path) -> LockedServer:
    if not is_template(json_text(given)):
        resolved = profile_of_server(loaded.document, loaded.path, cwd, name, given, NO_ENVIRON, loaded.sources)
        return locked_server(
            resolved, root, _files_of_hub(each.profile.model.hf for each in resolved.alternatives)
        )
    # It has values only when it runs: what is known is how it is written, and what it names without an expression.
    plain = [ref for ref in _named(given) if not is_template(ref)]
    if plain:
        resolve_profile(
            {"extends": plain},
            places=search_path(loaded.folder, cwd),
            base_dir=loaded.folder,
            needs_model=False,
            sources=loaded.sources,
        )
    return LockedServer(profile=digest(given, root))


def _named(given: Any) -> Iterator[str]:
    if isinstance(given, Mapping):
        for key in ("extends", "first_of"):
            value = given.get(key)
            yield from (ref for ref in (value if isinstance(value, list) else [value]) if isinstance(ref, str))


def _with_known(server: LockedServer, known: LockedServer | None) -> LockedServer:
    """With the hashes of files that the lock has and this machine has not."""
    files = {model.hf: model.files for model in known.models if model.hf} if known else {}
    models = [
        model.model_copy(update={"files": {**files.get(model.hf, {}), **model.files}}) if model.hf else model
        for model in server.models
    ]
    return server.model_copy(update={"models": models})


def _files_of_hub(models: Iterator[str | None]) -> dict[str, dict[str, str]]:
    """The files of the Hub's models that are on this machine: its cache names each by its SHA-256."""
    machine = Machine.here()
    found: dict[str, dict[str, str]] = {}
    for model in models:
        if model and (path := find_in_hub(HubModel.parse(model), machine.environ, machine.home)):
            names = {part.name: part.resolve().name for part in parts_of(path)}
            found[model] = {name: sha256 for name, sha256 in names.items() if _SHA256.fullmatch(sha256)}
    return found
