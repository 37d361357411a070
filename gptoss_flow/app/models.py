"""The models behind a flow's servers: profile to model file to managed server to client to model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.errors import RecordError, StepError
from gptoss_flow.events import Json, ServerChanged, ServerState
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.llama.client import Client
from gptoss_flow.ports import Clock, Emit, Endpoint, Generation, Model, OnText, PromptRequest, RenderedPrompt
from gptoss_flow.prompt.harmony import preload
from gptoss_flow.prompt.served import ServedModel
from gptoss_flow.server.causes import Death
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.manager import ManagedServer, open_server
from gptoss_flow.server.model import Machine
from gptoss_flow.server.readiness import NEWS_S

T = TypeVar("T")


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
    ) -> None:
        self._profiles = profiles
        self._emit = emit
        self._clock = clock
        self._state_root = state_root
        self._log_folder = log_folder
        self._machine = machine
        self._offline = offline
        self._served: dict[str, _Served] = {}

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        for name in servers:
            self._served[name] = await self._prepared(name, self._profiles[name])
        return {name: await served.slots() for name, served in self._served.items()}

    async def get(self, server: str) -> Model:
        return await self._served[server].model()

    async def release(self, server: str) -> None:
        if server in self._served:
            await self._served[server].release()

    async def close(self) -> None:
        await asyncio.gather(*(served.release() for served in self._served.values()))

    async def _prepared(self, name: str, resolved: ResolvedProfile) -> _Served:
        changed, path = self._changed(name), Path()
        if resolved.profile.resolved_engine != "external":
            resolved, found = await choose_model_file(
                resolved, self._machine, lambda line: changed("stopped", line, {}), offline=self._offline
            )
            path = found.path
            if found.architecture == "gpt-oss":
                preload()  # openai-harmony's table takes a second to load: meanwhile the server starts
        server = open_server(
            resolved.profile,
            path,
            state_root=self._state_root,
            log_path=self._log_folder / f"server-{name}.log" if self._log_folder else None,
            on_change=changed,
            clock=self._clock,
        )
        return _Served(server, self._clock)

    def _changed(self, name: str) -> Callable[[ServerState, str, dict[str, Json]], None]:
        def changed(state: ServerState, detail: str, facts: dict[str, Json]) -> None:
            # A record that can't be written ends the run at the loop's own next event, not in here.
            with suppress(RecordError):
                self._emit(ServerChanged(server=name, state=state, detail=detail, facts=facts))

        return changed


class _Served:
    """One server with the client of its present life; a new life gets a new client."""

    def __init__(self, server: ManagedServer | ExternalServer, clock: Clock) -> None:
        self.server = server
        self._clock = clock
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None
        self._model: Model | None = None
        self._connecting = asyncio.Lock()

    async def model(self) -> Model:
        endpoint = await self.server.ensure_ready()
        async with self._connecting:
            if self._model is None or endpoint is not self._endpoint:
                await self._disconnect()
                self._endpoint = endpoint
                self._client = Client(endpoint, clock=self._clock, died=_said(self.server.died))
                self._model = _Mortal(ServedModel(endpoint, self._client), self.server.died)
            return self._model

    async def slots(self) -> int:
        """How many requests it works on at once: of a server that is not ours, only it can tell."""
        if isinstance(self.server, ExternalServer):
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


class _Mortal:
    """A model whose server may die: then that is what its callers fail of, and only once it is known.

    A server's connections end before the news of its death comes. A caller that was told of the former alone
    would try again at once, and at the same dead server.
    """

    def __init__(self, model: Model, died: asyncio.Future[Death]) -> None:
        self._model = model
        self._died = died

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        return await self._told(self._model.render(request))

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        return await self._told(self._model.generate(prompt, on_text))

    async def count_tokens(self, text: str) -> int:
        return await self._told(self._model.count_tokens(text))

    async def truncate(self, text: str, tokens: int) -> str:
        return await self._told(self._model.truncate(text, tokens))

    async def _told(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except StepError as error:
            if error.kind == "server" and error.retryable:
                await asyncio.wait({self._died}, timeout=NEWS_S)
                if self._died.done() and not self._died.cancelled():
                    raise StepError("server", str(self._died.result())) from error
            raise


def _said(died: asyncio.Future[Death]) -> asyncio.Future[str]:
    """The death of a server as the text that its requests fail with."""
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def tell(death: asyncio.Future[Death]) -> None:
        if not said.done() and not death.cancelled():
            said.set_result(str(death.result()))

    died.add_done_callback(tell)
    return said
