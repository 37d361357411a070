"""The managed servers of this user, as the `server` commands speak of them: by profile or by ID."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import platformdirs

from gptoss_flow.app.narrate import Say, narrated
from gptoss_flow.app.profiles import choose_model_file, find_server_profile, known_places
from gptoss_flow.errors import Invalid, Problem, StepError, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile_files import SUFFIXES
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.openai_client import OpenAiClient
from gptoss_flow.ports import Clock, Endpoint, Message, Question
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server import verbs
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.model import Machine, find_model
from gptoss_flow.server.model_file import ModelFile, parts_of
from gptoss_flow.server.probe import NoReply, ask
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.record import ServerRecord, list_servers
from gptoss_flow.server.registry import Place
from gptoss_flow.server.starter import locate
from gptoss_flow.server.verbs import Running
from gptoss_flow.urls import means
from gptoss_flow.words import suggest

ID_DIGITS = 12
ID_DIGITS_MIN = 6
"""How many digits of its fingerprint a server's ID has, and how few of them name it."""
SAMPLE_TIMEOUT_S = 60.0

State = Literal["ready", "loading", "stopping", "down"]
_SILENT = {
    "down": "it does not answer: start it anew with `gptoss-flow server restart`",
    "loading": "its model is not ready yet",
    "stopping": "it is about to end",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A completion that was asked for to see how a server does. Times count from the request."""

    text: str
    tokens: int
    ttft_s: float
    total_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a server is. `slots_busy` and `sample` are None where it did not say; `problem` says why not."""

    name: str
    endpoint: Endpoint
    state: State
    slots_busy: int | None = None
    sample: Sample | None = None
    problem: str = ""
    keepalive: Mapping[str, Json] | None = None

    @property
    def is_up(self) -> bool:
        """It answers; that it has no free slot for the sample is no fault."""
        return self.state == "ready" and (self.sample is not None or self.slots_busy == self.endpoint.slots)


class Servers:
    """What there is below a state root. Every `ref` is a profile's name or path, an ID's beginning or a URL."""

    def __init__(self, *, state_root: Path, machine: Machine, cwd: Path, clock: Clock) -> None:
        self.state_root = state_root
        self._machine = machine
        self._cwd = cwd
        self._clock = clock

    @classmethod
    def here(cls) -> Servers:
        """This user's, profiles being looked for from the current folder."""
        state_root = Path(platformdirs.user_state_dir("gptoss-flow"))
        return cls(state_root=state_root, machine=Machine.here(), cwd=Path.cwd(), clock=SystemClock())

    async def start(
        self, ref: str, say: Say, *, idle_timeout_s: float | None = None, offline: bool = False
    ) -> tuple[Running, bool]:
        """Start the profile's server, or find it (then True), and leave it running; `say` is told what happens.

        It stays for `idle_timeout_s` after its last user, else as long as its profile says, else for good.
        Raises `Invalid`, `Unavailable`.
        """
        resolved = find_server_profile(ref, self._cwd, offline=offline)
        if resolved.profile.resolved_engine == "external":
            raise Invalid(_somebody_elses(ref, resolved))
        resolved, model = await choose_model_file(resolved, self._machine, say, offline=offline)

        with places_of(resolved):
            endpoint = await verbs.start(
                resolved.profile,
                model.path,
                state_root=self.state_root,
                on_change=narrated(say),
                clock=self._clock,
                idle_timeout_s=idle_timeout_s or resolved.profile.idle_timeout or verbs.STAY,
            )
        running = await self.at(endpoint)
        if idle_timeout_s is not None and _is_shorter(idle_timeout_s, running.record.idle_timeout_s):
            say("it was to stay longer before, and the longest time counts: stop it first to shorten that")
        return running, endpoint.adopted

    async def at(self, endpoint: Endpoint) -> Running:
        """The one that was started or found at this endpoint. Raises `Unavailable` where it is gone already."""
        for running in await verbs.ps(self.state_root):
            if running.record.pid == endpoint.pid:
                return running
        raise Unavailable(f"the server ended as soon as it was ready; its log is {endpoint.log_path}")

    async def find(self, ref: str | None = None) -> list[Running]:
        """Those that run and that `ref` means, oldest first; all without one. Raises `Invalid`."""
        running = await verbs.ps(self.state_root)
        if ref is None:
            return running
        named = [each for each in running if _is_named(ref, each.record)]
        if named:
            return named
        if resolved := self._external(ref):
            raise Invalid(_somebody_elses(ref, resolved))
        # The same server may have been started by another profile, or under another name.
        folders = {str(place.folder) for place in await asyncio.to_thread(self._places, ref, running)}
        return [each for each in running if each.record.folder in folders]

    async def stop(self, running: Running) -> None:
        """Stop it, whoever uses it. Raises `Unavailable` if it does not end."""
        await verbs.stop_server(running.record)

    async def status(self, ref: str | None, *, prompt: str, max_tokens: int) -> list[Health]:
        """How those are that `ref` means, all without one, each with a sample completion; empty if none runs.

        A profile or URL of somebody else's server is looked at too. Raises `Invalid`, `Unavailable`.
        """
        if ref is not None and (resolved := self._external(ref)):
            with places_of(resolved):
                endpoint = await ExternalServer(resolved.profile, on_change=lambda *change: None).ensure_ready()
            return [await self._health(ref, endpoint, "ready", prompt, max_tokens)]
        return [
            replace(
                await self._health(each.record.name, _endpoint(each.record), each.state, prompt, max_tokens),
                keepalive=each.keepalive,
            )
            for each in await self.find(ref)
        ]

    async def log(self, ref: str | None) -> tuple[Path, Running | None]:
        """The log of the one that `ref` means, or of the only one, and the server if it still runs.

        Raises `Invalid` where several run, `Unavailable` where there is no log.
        """
        running = await self.find(ref)
        if len(running) > 1:
            raise Invalid(which_one(running))
        if running:
            return Path(running[0].record.log), running[0]
        places = await asyncio.to_thread(self._places, ref, []) if ref is not None else self._all_places()
        logs = [log for place in places if (log := place.folder / "server.log").is_file()]
        if not logs:
            hint = "a run keeps the log of a server that it started in its own folder"
            raise Unavailable(Problem(None, f"no log of {_named(ref)} is there", hint))
        return max(logs, key=lambda log: log.stat().st_mtime), None

    def is_external(self, ref: str) -> bool:
        """Whether it means somebody else's server, which is used as it is. Raises `Invalid`."""
        return self._external(ref) is not None

    def _external(self, ref: str) -> ResolvedProfile | None:
        if not self._is_profile(ref) or any(means(ref, record.url) for record in list_servers(self.state_root)):
            return None
        resolved = find_server_profile(ref, self._cwd)
        return resolved if resolved.profile.resolved_engine == "external" else None

    def _is_profile(self, ref: str) -> bool:
        is_path = "/" in ref or ref.endswith(SUFFIXES)  # an address has slashes too
        return is_path or ref in known_places(self._cwd).names()

    def _places(self, ref: str, running: list[Running]) -> list[Place]:
        """Where servers of this profile keep their state, one for each of its alternatives that can run here."""
        if not self._is_profile(ref):
            known = [each.record.name for each in running] + [server_id(each.record) for each in running]
            hint = suggest(ref, dict.fromkeys([*known, *known_places(self._cwd).names()]))
            raise Invalid(Problem(None, f'there is no server and no profile "{ref}"', hint))
        resolved = find_server_profile(ref, self._cwd)
        return [place for each in resolved.alternatives if (place := self._place(each))]

    def _place(self, resolved: ResolvedProfile) -> Place | None:
        if resolved.profile.resolved_engine == "external":
            return None
        with contextlib.suppress(Unavailable):  # what cannot be started here does not run here
            found = find_model(resolved.profile, self._machine)
            if isinstance(found, ModelFile):
                return locate(resolved.profile, found.path, self.state_root, os.environ)[0]
        return None

    def _all_places(self) -> list[Place]:
        return [Place(folder, folder.name) for folder in (self.state_root / "servers").glob("*")]

    async def _health(self, name: str, endpoint: Endpoint, state: State, prompt: str, max_tokens: int) -> Health:
        client = Client(endpoint, clock=self._clock)
        busy: int | None = None
        try:
            if endpoint.api != "llama.cpp":  # it has said that it has the model; of slots nobody is told
                sample = await _api_sample(OpenAiClient(endpoint, clock=self._clock), prompt, max_tokens)
                return Health(name=name, endpoint=endpoint, state=state, sample=sample)
            if not await client.health():
                state = "down" if state == "ready" else state
                return Health(name=name, endpoint=endpoint, state=state, problem=_SILENT[state])
            busy = await asyncio.to_thread(_slots_busy, endpoint)
            sample = await _sample(client, prompt, max_tokens)
            return Health(name=name, endpoint=endpoint, state=state, slots_busy=busy, sample=sample)
        except StepError as error:
            return Health(name=name, endpoint=endpoint, state=state, slots_busy=busy, problem=error.message)
        finally:
            await client.aclose()


def _somebody_elses(ref: str, resolved: ResolvedProfile) -> Problem:
    said = f"profile {resolved.name} is of a server that somebody else runs, at {resolved.profile.url}"
    return Problem(None, said, f"see how it is with: gptoss-flow server status {ref}")


def _is_shorter(idle_s: float, other_s: float) -> bool:
    return idle_s != verbs.STAY and (other_s == verbs.STAY or idle_s < other_s)


def server_id(record: ServerRecord) -> str:
    return record.fingerprint[:ID_DIGITS]


def which_one(running: list[Running], hint: str = "name one of them, or its ID") -> Problem:
    """The complaint that several servers run where one was to be named."""
    names = ", ".join(f"{each.record.name} ({server_id(each.record)})" for each in running)
    return Problem(None, f"{len(running)} servers run: {names}", hint)


def server_json(running: Running) -> dict[str, Json]:
    """A server as data. `key_file` holds the API key, which is told nowhere; sizes in bytes, times in seconds."""
    record = running.record
    return {
        "name": record.name,
        "id": server_id(record),
        "state": running.state,
        "model": _model_name(record),
        "model_path": record.model_path,
        "size_bytes": _size_bytes(Path(record.model_path)),
        "engine": record.engine,
        "build": record.build,
        "url": record.url,
        "key_file": str(Path(record.folder) / "key"),
        "pid": record.pid,
        "context_tokens": record.context_tokens,
        "slots": record.slots,
        "users": running.users,
        "idle_timeout_s": record.idle_timeout_s,
        "stops_in_s": running.stops_in_s,
        "keepalive": dict(running.keepalive),
        "started_at": record.started_at,
        "log": record.log,
    }


def health_json(health: Health) -> dict[str, Json]:
    """A server's health as data."""
    endpoint, sample = health.endpoint, health.sample
    return {
        "name": health.name,
        "state": health.state,
        "up": health.is_up,
        "problem": health.problem,
        "url": endpoint.url,
        "pid": endpoint.pid,
        "engine": endpoint.engine,
        "build": endpoint.build,
        "model": endpoint.model,
        "model_path": endpoint.model_path,
        "context_tokens": endpoint.context_tokens,
        "slots": endpoint.slots,
        "slots_busy": health.slots_busy,
        "keepalive": health.keepalive and dict(health.keepalive),
        "sample": sample
        and {"text": sample.text, "tokens": sample.tokens, "ttft_s": sample.ttft_s, "total_s": sample.total_s},
    }


def _named(ref: str | None) -> str:
    return "any server" if ref is None else f'a server of "{ref}"'


def _is_named(ref: str, record: ServerRecord) -> bool:
    is_id = len(ref) >= ID_DIGITS_MIN and record.fingerprint.startswith(ref)
    return is_id or ref == record.name or means(ref, record.url)


def _model_name(record: ServerRecord) -> str:
    return str(record.facts.get("model") or Path(record.model_path).stem)


def _size_bytes(model: Path) -> int | None:
    try:
        return sum(part.stat().st_size for part in parts_of(model))
    except OSError:
        return None


def _endpoint(record: ServerRecord) -> Endpoint:
    return Endpoint(
        url=record.url,
        api_key=Place(Path(record.folder), record.fingerprint).key(),
        engine=cast("Literal['llama-server', 'embedded']", record.engine),
        build=record.build,
        model=_model_name(record),
        model_path=record.model_path,
        slots=record.slots,
        context_tokens=record.context_tokens,
        pid=record.pid,
        log_path=Path(record.log),
        adopted=True,
    )


def _slots_busy(endpoint: Endpoint) -> int | None:
    """How many slots work; None where the server does not tell."""
    with contextlib.suppress(NoReply, TypeError, KeyError):
        slots = ask(endpoint.url, "/slots", key=endpoint.api_key).body
        if isinstance(slots, list):
            return sum(bool(slot["is_processing"]) for slot in slots)
    return None


async def _sample(client: Client, prompt: str, max_tokens: int) -> Sample:
    tokens = await client.tokenize(prompt, special=False, bos=True)
    sent = first = last = time.perf_counter()
    texts: list[str] = []
    count = 0
    params: dict[str, Json] = {"max_tokens": max_tokens, "temperature": 0}
    async for chunk in client.complete(tokens, params, timeout_s=SAMPLE_TIMEOUT_S):
        first = first if texts else chunk.arrived
        last = chunk.arrived
        texts.append(chunk.text)
        if chunk.final is not None:
            sent, count = chunk.final.sent, chunk.final.tokens_predicted
    return Sample(text="".join(texts), tokens=count, ttft_s=first - sent, total_s=last - sent)


async def _api_sample(client: OpenAiClient, prompt: str, max_tokens: int) -> Sample:
    sent = first = last = time.perf_counter()
    texts: list[str] = []
    count = 0
    params: dict[str, Json] = {"max_tokens": max_tokens, "temperature": 0}
    api = client.endpoint.api
    assert api != "llama.cpp"
    asked = Question(api=api, messages=(Message("user", prompt),), params=params)
    try:
        async for said in client.converse(asked):
            first = first if texts else said.arrived
            last = said.arrived
            texts.append(said.text)
            if said.end is not None:
                sent, count = said.end.sent, said.end.usage["completion_tokens"]
    finally:
        await client.aclose()
    return Sample(text="".join(texts), tokens=count, ttft_s=first - sent, total_s=last - sent)
