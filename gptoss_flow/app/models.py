"""The models behind a flow's servers: profile to model file to managed server to client to model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import platformdirs

from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.app.server_news import ServerNews
from gptoss_flow.errors import StepError
from gptoss_flow.events import Channel
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.llama import lean_httpx
from gptoss_flow.llama.client import Client
from gptoss_flow.llama.openai_client import OpenAiClient
from gptoss_flow.ports import (
    Clock,
    Emit,
    Endpoint,
    Generation,
    Message,
    Model,
    OnText,
    PromptRequest,
    RenderedPrompt,
)
from gptoss_flow.prompt.api_model import ApiModel
from gptoss_flow.prompt.harmony import preload
from gptoss_flow.prompt.llama_model import LlamaModel
from gptoss_flow.server.alive import Pulse
from gptoss_flow.server.causes import Death
from gptoss_flow.server.engines import find_engine
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.manager import ManagedServer, open_server
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.readiness import NEWS_S
from gptoss_flow.server.starter import result_identity, served_identity

T = TypeVar("T")

OnChosen = Callable[[str, ResolvedProfile], None]


@dataclass(frozen=True, slots=True)
class Held:
    """A server that is ready: where it is, the model behind it, who holds it, how long its start took."""

    endpoint: Endpoint
    model: Model
    server: ManagedServer | ExternalServer
    start: Mapping[str, float]


class ServedModels:
    """`ports.Models` over managed servers. One per run: it emits every change of their state."""

    def __init__(
        self,
        profiles: Mapping[str, ResolvedProfile],
        *,
        emit: Emit,
        clock: Clock,
        state_root: Path,
        log_folder: Path | None,
        machine: Machine,
        offline: bool = False,
        on_chosen: OnChosen = lambda server, resolved: None,
    ) -> None:
        """`on_chosen` is told of each server's profile, of several alternatives the one that is taken."""
        self._profiles = profiles
        self._emit = emit
        self._clock = clock
        self._state_root = state_root
        self._log_folder = log_folder
        self._machine = machine
        self._offline = offline
        self._on_chosen = on_chosen
        self._served: dict[str, _Served] = {}
        self._identities: dict[str, dict[str, str]] = {}
        self._news: dict[str, ServerNews] = {}

    @classmethod
    def here(
        cls,
        profiles: Mapping[str, ResolvedProfile],
        *,
        emit: Emit,
        clock: Clock,
        log_folder: Path | None,
        offline: bool,
        on_chosen: OnChosen = lambda server, resolved: None,
    ) -> ServedModels:
        """This user's servers, on this machine."""
        return cls(
            profiles,
            emit=emit,
            clock=clock,
            state_root=Path(platformdirs.user_state_dir("gptoss-flow")),
            log_folder=log_folder,
            machine=Machine.here(),
            offline=offline,
            on_chosen=on_chosen,
        )

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        if servers:
            lean_httpx.preload()
        for name in servers:
            self._served[name] = await self._prepared(name, self._profiles[name])
        return {name: await served.slots() for name, served in self._served.items()}

    def identity(self, server: str) -> Mapping[str, str]:
        return self._identities[server]

    async def get(self, server: str) -> Model:
        return await self._served[server].model()

    async def held(self, server: str) -> Held:
        """As `get`, with what a bench needs beside it."""
        served = self._served[server]
        endpoint, model = await served.connected()
        return Held(endpoint, model, served.server, self._news[server].start_times())

    async def release(self, server: str) -> None:
        if server in self._served:
            await self._served[server].release()

    async def close(self) -> None:
        await asyncio.gather(*(served.release() for served in self._served.values()))

    async def _prepared(self, name: str, resolved: ResolvedProfile) -> _Served:
        news, path = self._news.setdefault(name, ServerNews(name, self._emit)), Path()
        if resolved.profile.resolved_engine != "external":
            resolved, found = await choose_model_file(resolved, self._machine, news.line, offline=self._offline)
            path = found.path
            if found.architecture == "gpt-oss":
                preload()  # openai-harmony's table takes a second to load: meanwhile the server starts
        self._on_chosen(name, resolved)
        server = open_server(
            resolved.profile,
            path,
            state_root=self._state_root,
            log_path=self._log_folder / f"server-{name}.log" if self._log_folder else None,
            on_change=news.changed,
            clock=self._clock,
        )
        if isinstance(server, ExternalServer):
            with places_of(resolved):
                serves = await server.ensure_ready()  # of what is not ours only it can tell what it is
            self._identities[name] = served_identity(resolved.profile, serves)
        else:
            self._identities[name] = await asyncio.to_thread(self._identity, resolved.profile, path)
        return _Served(server, resolved, self._clock)

    def _identity(self, profile: Profile, model: Path) -> dict[str, str]:
        return result_identity(profile, model, find_engine(profile, self._state_root, os.environ).identity)


class _Served:
    """One server with the client of its present life; a new life gets a new client."""

    def __init__(self, server: ManagedServer | ExternalServer, resolved: ResolvedProfile, clock: Clock) -> None:
        self.server = server
        self._resolved = resolved
        self._clock = clock
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None
        self._model: Model | None = None
        self._connecting = asyncio.Lock()

    async def model(self) -> Model:
        return (await self.connected())[1]

    async def connected(self) -> tuple[Endpoint, Model]:
        with places_of(self._resolved):
            endpoint = await self.server.ensure_ready()
        async with self._connecting:
            if self._model is None or endpoint is not self._endpoint:
                await self._disconnect()
                self._endpoint = endpoint
                self._client, model = connected(endpoint, self._clock, _said(self.server.died))
                self._model = _Mortal(model, self.server.died, _pulse(self.server))
            return endpoint, self._model

    async def slots(self) -> int:
        """How many requests it works on at once: of a server that is not ours, only it can tell."""
        if isinstance(self.server, ExternalServer):
            with places_of(self._resolved):
                return (await self.server.ensure_ready()).slots
        return self.server.profile.parallel

    async def release(self) -> None:
        # Own requests first: a server with an open stream does not stop when asked.
        await self._disconnect()
        await self.server.release()

    async def _disconnect(self) -> None:
        if self._client is not None:
            client, self._client, self._model = self._client, None, None
            await client.aclose()


def connected(endpoint: Endpoint, clock: Clock, died: asyncio.Future[str] | None) -> tuple[Client, Model]:
    """A client of a server that is ready, and the model behind it. Whoever asks closes the client."""
    client = OpenAiClient(endpoint, clock=clock, died=died)
    if endpoint.api == "llama.cpp":
        return client, LlamaModel(endpoint, client)
    return client, ApiModel(endpoint, client, endpoint.api)


class _Mortal:
    """A model whose server may die: then that is what its callers fail of, and only once it is known.

    A server's connections end before the news of its death comes. A caller that was told of the former alone
    would try again at once, and at the same dead server.
    """

    def __init__(self, model: Model, died: asyncio.Future[Death], pulse: Pulse | None) -> None:
        self._model = model
        self._died = died
        self._pulse = pulse

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        return await self._told(self._model.render(request))

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        def heard(channel: Channel, text: str, tokens: int) -> None:
            if self._pulse is not None:
                self._pulse.beat()
            on_text(channel, text, tokens)

        return await self._told(self._model.generate(prompt, heard))

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self._told(self._model.extend(prompt, answer, turns))

    async def count_tokens(self, text: str) -> int:
        return await self._told(self._model.count_tokens(text))

    async def truncate(self, text: str, tokens: int) -> str:
        return await self._told(self._model.truncate(text, tokens))

    async def _told(self, work: Awaitable[T]) -> T:
        try:
            with nullcontext() if self._pulse is None else self._pulse.request():
                return await work
        except StepError as error:
            if error.kind == "server" and error.retryable:
                await asyncio.wait({self._died}, timeout=NEWS_S)
                if self._died.done() and not self._died.cancelled():
                    raise StepError("server", str(self._died.result())) from error
            raise


def _pulse(server: ManagedServer | ExternalServer) -> Pulse | None:
    """Where the requests at a server of ours are told, so that it is known to live; another's is not watched."""
    return server.pulse if isinstance(server, ManagedServer) else None


def _said(died: asyncio.Future[Death]) -> asyncio.Future[str]:
    """The death of a server as the text that its requests fail with."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def tell(death: asyncio.Future[Death]) -> None:
        if not said.done() and not death.cancelled():
            said.set_result(str(death.result()))

    died.add_done_callback(tell)
    return said
