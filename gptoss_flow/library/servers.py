"""Managed servers from Python: started by a profile's name, shared with whoever else wants the same one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from gptoss_flow.app.narrate import narrated
from gptoss_flow.app.profiles import choose_model_file, find_server_profile
from gptoss_flow.library.client import Client
from gptoss_flow.ports import Endpoint
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.manager import ManagedServer, open_server
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.record import state_root

Server = ManagedServer | ExternalServer


class ServerManager:
    """Servers of profiles, by name, path or URL. On leaving, each stops or stays as its profile says."""

    def __init__(
        self,
        *,
        cwd: str | Path | None = None,
        offline: bool = False,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """`say` is told in a line what happens, such as that a model is fetched (`offline`: never)."""
        self._cwd = Path.cwd() if cwd is None else Path(cwd).absolute()
        self._offline, self._say = offline, say
        self._opened: dict[str, tuple[Server, Client | None]] = {}
        self._opening = asyncio.Lock()

    async def start(self, profile: str = "local") -> Endpoint:
        """The profile's server, ready: started, attached to, or still alive. Raises `Invalid`, `Unavailable`."""
        async with self._opening:
            if profile not in self._opened:
                self._opened[profile] = (await self._open(profile), None)
            server, _ = self._opened[profile]
        return await server.ensure_ready()

    async def client(self, profile: str = "local") -> Client:
        """A client of the profile's server, which is started for it; closed with the server."""
        endpoint = await self.start(profile)
        server, client = self._opened[profile]
        if client is None or client.endpoint != endpoint:
            if client is not None:
                await client.aclose()
            client = Client.of(endpoint)
            self._opened[profile] = (server, client)
        return client

    async def stop(self, profile: str = "local") -> None:
        """We are done with it: it stops, or stays as its profile says, or for others who use it."""
        async with self._opening:
            found = self._opened.pop(profile, None)
        if found is not None:
            server, client = found
            if client is not None:
                await client.aclose()
            await server.release()

    async def aclose(self) -> None:
        await asyncio.gather(*(self.stop(profile) for profile in list(self._opened)))

    async def __aenter__(self) -> ServerManager:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _open(self, profile: str) -> Server:
        resolved, path = find_server_profile(profile, self._cwd, offline=self._offline), Path()
        if resolved.profile.resolved_engine != "external":
            resolved, model = await choose_model_file(resolved, Machine.here(), self._say, offline=self._offline)
            path = model.path
        with places_of(resolved):
            return open_server(
                resolved.profile,
                path,
                state_root=state_root(),
                log_path=None,
                on_change=narrated(self._say),
                clock=SystemClock(),
            )
