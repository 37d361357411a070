"""The servers that a bench measures: the flow's, as its steps use it, or a cell's own, started for a trial."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptoss_flow.app.models import Held, ServedModels
from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.app.server_news import ServerNews
from gptoss_flow.bench.target import FinalFinder, Target
from gptoss_flow.errors import Invalid, Problem, StepError, Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath, Origin, Written, lay_over
from gptoss_flow.lang.profile_rules import contradictions
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.timed import TimedClient
from gptoss_flow.ports import Chunk, Clock, Emit
from gptoss_flow.prompt import harmony
from gptoss_flow.prompt.answer import HarmonyAnswer, PlainAnswer
from gptoss_flow.prompt.served import ServedModel
from gptoss_flow.server.manager import ManagedServer
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.starter import result_identity


class BenchServers:
    """`bench.target.OpenTarget`. `folder` is the run's: servers of cells have their state and their logs there, so
    that none is found that runs already, and none is found by others."""

    def __init__(
        self,
        models: ServedModels,
        profiles: Mapping[str, ResolvedProfile],
        *,
        emit: Emit,
        clock: Clock,
        folder: Path,
        machine: Machine,
        offline: bool,
    ) -> None:
        self._models = models
        self._profiles = profiles
        self._emit = emit
        self._clock = clock
        self._folder = folder
        self._machine = machine
        self._offline = offline

    @asynccontextmanager
    async def open(self, server: str, changes: Mapping[str, Json], number: int) -> AsyncIterator[Target]:
        """Raises `Unavailable`, `Invalid`, `StepError`."""
        if changes:
            async with self._own(server, changes, number) as target:
                yield target
        else:
            yield await self._shared(server)

    async def _shared(self, name: str) -> Target:
        try:
            held = await self._models.held(name)
        except (Unavailable, Invalid) as error:
            raise StepError("server", str(error), retryable=False, exit_code=error.exit_code) from error
        return _target(held, self._models.identity(name).get("profile", ""))

    @asynccontextmanager
    async def _own(self, name: str, changes: Mapping[str, Json], number: int) -> AsyncIterator[Target]:
        news = ServerNews(name, self._emit)
        changes = completed(self._profiles[name], changes)
        resolved = with_changes(self._profiles[name], changes)
        if resolved.profile.resolved_engine == "external":
            raise Invalid(Problem(None, f"server {name} is somebody else's, so its profile cannot be tried out"))
        resolved, found = await choose_model_file(resolved, self._machine, news.line, offline=self._offline)
        server = ManagedServer(
            resolved.profile,
            found.path,
            state_root=self._folder / "bench-servers",
            log_path=self._folder / f"server-{name}-trial-{number}.log",
            on_change=news.changed,
            clock=self._clock,
            idle_timeout_s=0.0,
        )
        try:
            with places_of(resolved):
                endpoint = await server.ensure_ready()
            client = Client(endpoint, clock=self._clock)
            try:
                profile = result_identity(resolved.profile, found.path, endpoint.build)["profile"]
                held = Held(endpoint, ServedModel(endpoint, client), server, news.start_times())
                yield replace(_target(held, profile), changes=changes)
            finally:
                await client.aclose()
        finally:
            await server.stop()


def _target(held: Held, profile: str) -> Target:
    endpoint, server = held.endpoint, held.server
    if endpoint.api != "llama.cpp":
        said = f"a bench counts tokens, which api {endpoint.api} does not tell: it needs llama.cpp's own server"
        raise StepError("server", said, retryable=False)
    pulse = server.pulse if isinstance(server, ManagedServer) else None
    return Target(
        endpoint=endpoint,
        model=held.model,
        client=TimedClient(endpoint, pulse.beat if pulse else lambda: None),
        final_finder=final_finder,
        died=server.died,
        start=held.start,
        fingerprint={
            "engine": endpoint.engine,
            "build": endpoint.build,
            "model": Path(endpoint.model_path).name or endpoint.model,
            "profile": profile,
        },
        busy=pulse.request if pulse else nullcontext,
    )


async def final_finder(mode: str) -> FinalFinder:
    """For Harmony its ids are parsed; in other modes every text is final."""
    make: Callable[[], HarmonyAnswer | PlainAnswer] = PlainAnswer
    if mode == "harmony":
        spell = (await asyncio.wrap_future(harmony.preload())).spell

        def make() -> HarmonyAnswer:
            return HarmonyAnswer(spell)

    def find(chunks: Sequence[Chunk]) -> float | None:
        answer = make()
        for chunk in chunks:
            if any(piece.channel == "final" for piece in answer.take(chunk)):
                return chunk.arrived
        return None

    return find


def completed(resolved: ResolvedProfile, changes: Mapping[str, Json]) -> Mapping[str, Json]:
    """A smaller batch brings the step that is computed at once down with it, unless the cell says that too."""
    batch = changes.get("batch")
    if isinstance(batch, int) and "ubatch" not in changes and resolved.profile.ubatch > batch:
        return {**changes, "ubatch": batch}
    return changes


def with_changes(resolved: ResolvedProfile, changes: Mapping[str, Json]) -> ResolvedProfile:
    """A profile, in each of its alternatives, with these keys laid over. Raises `Invalid`."""
    first, *others = [_changed(each, changes) for each in resolved.alternatives]
    return replace(first, fallbacks=tuple(others))


def _changed(resolved: ResolvedProfile, changes: Mapping[str, Json]) -> ResolvedProfile:
    data: dict[str, Any] = resolved.profile.model_dump(exclude_unset=True)
    origins: dict[KeyPath, Origin] = dict(resolved.origins)
    lay_over(data, origins, changes, Written(None))
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid(f"matrix: {where}: {first['msg']}") from None
    if faults := [*contradictions(profile)]:
        raise Invalid(*(Problem(None, f"matrix: {fault.message}", fault.hint) for fault in faults))
    return replace(resolved, profile=profile, origins=origins, fallbacks=())
