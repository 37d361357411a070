"""flow.lock beside a flow: reads it for a run, writes it anew, says in what it is out of date."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.fields import is_template, json_text
from gptoss_flow.lang.elsewhere import Fetch, Sources
from gptoss_flow.lang.load import LoadedFlow, load_flow, profile_of_server, servers_of
from gptoss_flow.lang.lock import (
    LOCK,
    Lock,
    LockedFlow,
    LockedServer,
    LockedSource,
    LockedTool,
    LockedToolServer,
    digest,
    locked_server,
    read_lock,
    write_lock,
)
from gptoss_flow.lang.profile_places import project_folder, search_path
from gptoss_flow.lang.profiles import NO_ENVIRON, resolve_profile
from gptoss_flow.server.hub import HubModel
from gptoss_flow.server.hub import find as find_in_hub
from gptoss_flow.server.model import Machine
from gptoss_flow.server.model_file import parts_of
from gptoss_flow.tools.mcp.listing import ListedTool, Listing, Pinned, changes

SHOWN_DIGITS = 12
"""How much of a hash is told of what was changed; the lock has all of it."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What locking a flow came to. `before` is None where its lock had nothing of it."""

    flow: Path
    lock_path: Path
    before: LockedFlow | None
    after: LockedFlow

    @property
    def is_changed(self) -> bool:
        return self.before != self.after


def lock_path(flow: Path) -> Path:
    return flow.parent / LOCK


def sources_of_flow(flow: Path, fetch: Fetch, *, locked: bool = False) -> Sources:
    """What the profiles of a flow may be made of: at the pins of its lock. Raises `Invalid`.

    `locked`: nothing else, and there has to be a lock.
    """
    lock = _read(lock_path(flow))
    known = lock.file.flows.get(flow.name) if lock else None
    if locked and known is None:
        said = f"{lock_path(flow)} has nothing of {flow.name}" if lock else f"there is no {lock_path(flow)}"
        raise Invalid(Problem(None, said, _run(flow)))
    return Sources(fetch, known.pins if known else {}, lock_command=lock_command(flow), is_locked=locked)


def require_lock(loaded: LoadedFlow, cwd: Path) -> None:
    """Raise `Invalid` with everything in which the lock of a flow is not what the flow is now."""
    lock = _read(lock_path(loaded.path))
    known = lock.file.flows.get(loaded.path.name) if lock else None
    if lock is None or known is None:
        raise Invalid(
            Problem(None, f"{lock_path(loaded.path)} has nothing of {loaded.path.name}", _run(loaded.path))
        )
    now = _locked(loaded, cwd, known)
    marks, name = lock.document.marks, loaded.path.name
    problems = [
        Problem(marks.key(("flows", name, *place)), said, _run(loaded.path))
        for place, said in _differences(known, now)
    ]
    if problems:
        raise Invalid(*sorted(problems, key=lambda problem: problem.mark or Mark("", 0, 0)))


ListTools = Callable[[LoadedFlow, Collection[str]], Mapping[str, Pinned]]
"""Starts tool servers of a flow, by the names that the lock has for them, and says what each offers."""


def lock_flow(
    flow: Path,
    cwd: Path,
    fetch: Fetch,
    list_tools: ListTools,
    *,
    upgrade: bool = False,
    check: bool = False,
) -> Locked:
    """Bring a flow's part of its lock up to date: pins that are there stay unless `upgrade`.

    Tool servers that are not pinned as they are run now are started, to learn what they offer.
    `check`: write nothing, and raise `Invalid` where the lock is out of date. Raises `Invalid`, `Unavailable`.
    """
    path = lock_path(flow)
    if check:
        loaded = _loaded(flow, cwd, sources_of_flow(flow, fetch, locked=True))
        require_lock(loaded, cwd)
    lock = _read(path)
    before = lock.file.flows.get(flow.name) if lock else None
    if check:
        assert before is not None
        return Locked(flow=flow, lock_path=path, before=before, after=before)
    pins = before.pins if before and not upgrade else {}
    sources = Sources(fetch, pins, lock_command=lock_command(flow), may_pin=True)
    loaded = _loaded(flow, cwd, sources)
    after = _with_tools(_locked(loaded, cwd, None if upgrade else before), loaded, list_tools)
    if before != after:
        with _alone_in(path.parent):  # another flow of the folder may have been locked meanwhile
            lock = _read(path)
            _write(path, write_lock({**(lock.file.flows if lock else {}), flow.name: after}))
    return Locked(flow=flow, lock_path=path, before=before, after=after)


def _with_tools(locked: LockedFlow, loaded: LoadedFlow, list_tools: ListTools) -> LockedFlow:
    unknown = [name for name, server in locked.tool_servers.items() if not server.tools]
    if not unknown:
        return locked
    found = {
        name: locked.tool_servers[name].model_copy(
            update={
                "tools": {
                    tool.name: LockedTool(description=tool.description, parameters=dict(tool.parameters))
                    for tool in listed.values()
                }
            }
        )
        for name, listed in list_tools(loaded, unknown).items()
    }
    after = locked.model_copy(update={"tool_servers": {**locked.tool_servers, **found}})
    try:
        read_lock(write_lock({"flow": after}).encode(), LOCK)
    except (Invalid, UnicodeEncodeError):
        said = f"what the tools of {', '.join(unknown)} say of themselves cannot be written down"
        raise Invalid(Problem(None, said, 'let in fewer of them: "tools" of the tool server')) from None
    return after


def differences(locked: Locked) -> list[str]:
    """What locking changed, a line each: `+` is new, `-` gone, `~` another."""
    before, after = locked.before or LockedFlow(), locked.after
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


def pinned_tools(server: LockedToolServer) -> Pinned:
    return {n: ListedTool(n, tool.description, tool.parameters) for n, tool in server.tools.items()}


def pins_by_flow(root: LoadedFlow) -> dict[int, Mapping[str, Pinned]]:
    """The same for each of these flows, by its `id`."""
    pins = pins_of(root)
    return {id(each): pins(each) for _, each in all_flows(root)}


def pins_of(root: LoadedFlow) -> Callable[[LoadedFlow], Mapping[str, Pinned]]:
    """What the lock of a flow has of the tool servers of it and of the flows inside it. Raises `Invalid`."""
    lock = _read(lock_path(root.path))
    known = lock.file.flows.get(root.path.name) if lock else None
    if known is None or not known.tool_servers:
        return lambda loaded: {}
    prefixes = {id(each): prefix for prefix, each in all_flows(root)}

    def pins(loaded: LoadedFlow) -> Mapping[str, Pinned]:
        prefix = prefixes.get(id(loaded), "")
        named = {name: known.tool_servers.get(f"{prefix}{name}") for name in tool_servers_of(loaded.data)}
        return {name: pinned_tools(server) for name, server in named.items() if server}

    return pins


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


def _differences(known: LockedFlow, now: LockedFlow) -> Iterator[tuple[tuple[str, ...], str]]:
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


def _loaded(flow: Path, cwd: Path, sources: Sources) -> LoadedFlow:
    # Without the environment: a variable of one machine says nothing about the flow.
    loaded = load_flow(flow, cwd, NO_ENVIRON, sources)
    if problems := [problem for _, each in all_flows(loaded) for problem in each.problems]:
        raise Invalid(*problems)
    return loaded


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


def _locked(loaded: LoadedFlow, cwd: Path, known: LockedFlow | None) -> LockedFlow:
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


def tool_servers_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The flow's tool servers as written."""
    found = data.get("tool_servers")
    return found if isinstance(found, dict) else {}


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


def _read(path: Path) -> Lock | None:
    try:
        return read_lock(path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from None


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps others who say so out of a folder meanwhile, where its file system can; leaves nothing in it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".flow.lock-", delete=False) as file:
            file.write(text)
        Path(file.name).chmod(mode)
        Path(file.name).replace(path)
    except OSError as error:
        raise Invalid(f"cannot write {path}: {error.strerror}") from None


def lock_command(flow: Path) -> str:
    return f"gptoss-flow lock {flow}"


def _run(flow: Path) -> str:
    return f"run: {lock_command(flow)}"
