"""Holds a profile against this machine: its engine and options, model, memory, context, port, key and files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs

from gptoss_flow.app.profiles import find_server_profile
from gptoss_flow.errors import ExitCode, FlowError, Invalid, Mark, Problem, Unavailable, worst
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.server import hub
from gptoss_flow.server.command import compile_command
from gptoss_flow.server.engines import Engine, devices_of, find_engine
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.hub import HubModel
from gptoss_flow.server.memory import estimate
from gptoss_flow.server.model import Machine, absent, find_model, require_context, require_room
from gptoss_flow.server.model_facts import ModelFacts, facts_of
from gptoss_flow.server.model_file import Missing, ModelFile
from gptoss_flow.server.probe import is_listening
from gptoss_flow.server.problems import KeyProblem, located
from gptoss_flow.server.record import list_servers, untrue
from gptoss_flow.server.settings import given_key, listening_port, port_taken, unusable_files
from gptoss_flow.server.starter import locate
from gptoss_flow.words import count

NO_MODEL = Path("model.gguf")
"""Stands in for the model where options are compiled only to see whether that can be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. `exit_code` is OK, or what a run would end with because of it.

    A model that could only be read again and again counts as one without room, though a run would begin.
    """

    check: str
    message: str
    hint: str = ""
    mark: Mark | None = None
    exit_code: ExitCode = ExitCode.OK

    @property
    def is_ok(self) -> bool:
        return self.exit_code is ExitCode.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found of a profile, in the order in which it was looked at."""

    name: str
    findings: tuple[Finding, ...] = field(default_factory=tuple)

    @property
    def exit_code(self) -> ExitCode:
        return worst(finding.exit_code for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a profile is checked: the folder in which it is named, the machine, the state of managed servers."""

    cwd: Path
    machine: Machine
    state_root: Path

    @classmethod
    def here(cls) -> Site:
        return cls(
            cwd=Path.cwd(), machine=Machine.here(), state_root=Path(platformdirs.user_state_dir("gptoss-flow"))
        )

    @property
    def environ(self) -> Mapping[str, str]:
        return self.machine.environ


async def check_profile(ref: str, site: Site, *, offline: bool = False) -> Checked:
    """Look at everything that can be known without starting the server or downloading its model. Raises nothing.

    A profile from elsewhere is fetched, unless it is in the cache or `offline`.
    Of several alternatives the one that would run is checked: the first whose model is here, else the last.
    """
    try:
        resolved = find_server_profile(ref, site.cwd, offline=offline)
    except FlowError as error:
        return Checked(name=ref, findings=tuple(_problems("profile", error)))
    sound = Finding(check="profile", message=_sound(resolved))
    if resolved.profile.resolved_engine == "external":
        return Checked(name=resolved.name, findings=(sound, *await _external(resolved, site)))
    found = await asyncio.to_thread(lambda: tuple(_managed(resolved, site)))
    return Checked(name=resolved.name, findings=(sound, *found))


def _sound(resolved: ResolvedProfile) -> str:
    return (
        f"every key of {count(len(resolved.chain), 'file')} is right" if resolved.chain else "its address is right"
    )


async def _external(resolved: ResolvedProfile, site: Site) -> tuple[Finding, ...]:
    server = ExternalServer(resolved.profile, on_change=lambda *change: None, environ=site.environ)
    try:
        endpoint = await server.ensure_ready()
    except Unavailable as error:
        return tuple(_problems("server", error, resolved, ("url",)))
    slots = f"{endpoint.slots} slots of {endpoint.context_tokens or '?'} tokens"
    if endpoint.api != "llama.cpp":
        slots = f"{endpoint.slots} requests at once, by {endpoint.api}"
    return (Finding(check="server", message=f"{endpoint.model} with {slots} at {endpoint.url}"),)


def _managed(resolved: ResolvedProfile, site: Site) -> Iterator[Finding]:
    chosen, model, passed_over = _choose(resolved, site)
    yield from passed_over
    try:
        engine = find_engine(chosen.profile, site.state_root, site.environ)
    except Unavailable as error:
        yield from _problems("engine", error, chosen)
    else:
        yield Finding(check="engine", message=_engine_text(engine))
        yield from _options(chosen, model, engine, site)
        yield from _devices(chosen, engine, site)
    yield from _model(chosen, model, site)
    yield _port(chosen, model, site)
    yield from _key(chosen, site)
    yield from _files(chosen)


def _engine_text(engine: Engine) -> str:
    return f"the one in {engine.build}" if engine.help is None else f"{engine.program[0]}, version {engine.build}"


def _choose(resolved: ResolvedProfile, site: Site) -> tuple[ResolvedProfile, ModelFile | Missing, list[Finding]]:
    """The alternative that would run, what is known of its model, and why the others would not."""
    *others, last = resolved.alternatives
    passed_over: list[Finding] = []
    for number, each in enumerate(others, 1):
        model = find_model(each.profile, site.machine)
        if isinstance(model, ModelFile) or not model.is_absence:
            return each, model, passed_over
        which = f"alternative {number} of {len(resolved.alternatives)} is passed over"
        passed_over.append(Finding(check="model", message=f"{which}: {model.message}"))
    return last, find_model(last.profile, site.machine), passed_over


def _options(
    resolved: ResolvedProfile, model: ModelFile | Missing, engine: Engine, site: Site
) -> Iterator[Finding]:
    path = model.path if isinstance(model, ModelFile) else NO_MODEL
    try:
        compile_command(resolved.profile, path, engine, port=1, key=None, threads=None, environ=site.environ)
    except Invalid as error:
        yield from _problems("options", error, resolved)
    else:
        yield Finding(check="options", message="the engine can be told every key")


def _devices(resolved: ResolvedProfile, engine: Engine, site: Site) -> Iterator[Finding]:
    wanted = resolved.profile.devices
    if not wanted or engine.kind != "llama-server":
        return
    try:
        there = devices_of(Path(engine.program[0]), site.environ)
    except Unavailable as error:
        yield from _problems("devices", error, resolved)
        return
    hint = f"there is {', '.join(there)}" if there else "it has none: remove the key, or take a build for your GPU"
    lacking = [number for number, name in enumerate(wanted) if name not in (*there, "none")]
    for number in lacking:
        said = f"llama-server has no device {wanted[number]}"
        yield from _problems("devices", Unavailable(Problem(None, said, hint)), resolved, ("devices", number))
    if not lacking:
        yield Finding(check="devices", message=f"the engine has {', '.join(wanted)}")


def _model(resolved: ResolvedProfile, model: ModelFile | Missing, site: Site) -> Iterator[Finding]:
    if isinstance(model, ModelFile):
        try:
            facts = facts_of(model)
        except Unavailable as error:
            yield from _problems("model", error)
            return
        yield Finding(check="model", message=f"{model.path} ({model.why})")
        yield _memory(resolved, model, facts, site)
        yield _context(resolved, model, facts)
    elif model.cause == "not_fetched" and (problem := _cannot_fetch(resolved)):
        yield from _problems("model", Unavailable(problem), resolved)
    elif model.cause == "not_fetched":
        said = f"{model.message}: the first run downloads it"
        if resolved.profile.model.size is not None:
            said += f" ({resolved.profile.model.size / 1e6:.0f} MB)"
        yield Finding(check="model", message=said)
    elif model.cause == "not_built":
        yield Finding(check="model", message=f"{model.message}: the first run does it, in seconds")
    else:
        yield from _problems("model", absent(resolved.profile, model), resolved)


def _cannot_fetch(resolved: ResolvedProfile) -> KeyProblem | None:
    hf = resolved.profile.model.hf
    return hub.lacking(HubModel.parse(hf)) if hf else None


def _memory(resolved: ResolvedProfile, model: ModelFile, facts: ModelFacts, site: Site) -> Finding:
    needed, there = estimate(resolved.profile, facts).total_bytes, site.machine.memory_bytes
    warnings: list[str] = []
    try:
        require_room(resolved.profile, model, site.machine, warnings.append)
        if warnings:
            where = ("model", *resolved.profile.model.sources[:1])
            raise Unavailable(KeyProblem(None, warnings[0], "take a smaller model or quantisation", where))
    except Unavailable as error:
        return next(_problems("memory", error, resolved))
    said = f"the server takes about {_gigabytes(needed)}, this machine has {_gigabytes(there)}"
    return Finding(check="memory", message=said)


def _context(resolved: ResolvedProfile, model: ModelFile, facts: ModelFacts) -> Finding:
    profile, trained = resolved.profile, facts.context_tokens
    asked = f"{profile.context_per_slot} tokens for a request"
    if trained is None:
        return Finding(check="context", message=f"{asked}; the model file does not say what it was trained for")
    try:
        require_context(profile, model)
    except Invalid as error:
        return next(_problems("context", error, resolved))
    if profile.rope.stretches:
        return Finding(check="context", message=f"{asked}; the model was trained for {trained}, rope stretches it")
    return Finding(check="context", message=f"{asked}, of the {trained} that the model was trained for")


def _port(resolved: ResolvedProfile, model: ModelFile | Missing, site: Site) -> Finding:
    host, wanted = resolved.profile.listen.host, resolved.profile.listen.port
    port = 0 if wanted == "auto" else wanted
    if port and is_listening(host, port):
        if isinstance(model, ModelFile) and _is_own(resolved, model, port, site):
            return Finding(check="port", message=f"this profile's own server listens on {host}, port {port}")
        return next(_problems("port", Unavailable(port_taken(host, port)), resolved))
    try:
        listening_port(resolved.profile.listen)
    except Unavailable as error:
        return next(_problems("port", error, resolved))
    said = f"port {port} is free on {host}" if port else f"any free port of {host}"
    return Finding(check="port", message=said)


def _is_own(resolved: ResolvedProfile, model: ModelFile, port: int, site: Site) -> bool:
    with contextlib.suppress(Unavailable):
        place = locate(resolved.profile, model.path, site.state_root, site.environ)[0]
        return any(
            server.port == port and server.fingerprint == place.fingerprint and not untrue(server)
            for server in list_servers(site.state_root)
        )
    return False


def _key(resolved: ResolvedProfile, site: Site) -> Iterator[Finding]:
    if resolved.profile.api_key in ("auto", "none"):
        return
    try:
        given_key(resolved.profile, site.environ)
    except Unavailable as error:
        yield from _problems("api_key", error, resolved)
    else:
        yield Finding(check="api_key", message="there is one where the profile says")


def _files(resolved: ResolvedProfile) -> Iterator[Finding]:
    for problem in unusable_files(resolved.profile):
        yield from _problems("files", Unavailable(problem), resolved)


def _problems(
    check: str, error: FlowError, resolved: ResolvedProfile | None = None, path: KeyPath = ()
) -> Iterator[Finding]:
    """The problems of an error, each where the key at `path`, or the one it names itself, was written."""
    for problem in error.problems:
        said = located(problem, resolved, path)
        yield Finding(check=check, message=said.message, hint=said.hint, mark=said.mark, exit_code=error.exit_code)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
