"""A server that somebody else runs: looked at, never started, stopped or signalled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json, ServerState
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Endpoint
from gptoss_flow.server import states
from gptoss_flow.server.causes import Death
from gptoss_flow.server.identity import Expected, Identity, NotOurs, prove
from gptoss_flow.server.probe import NoReply, ask
from gptoss_flow.server.starter import given_key


class ExternalServer:
    """A `ports.Server` at the profile's `url`, refused where it is not what the profile asks for."""

    def __init__(
        self,
        profile: Profile,
        *,
        on_change: Callable[[ServerState, str, dict[str, Json]], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.profile = profile
        self.state: ServerState = "stopped"
        self._url = profile.url or ""
        self._on_change = on_change
        self._environ = environ
        self._asking = asyncio.Lock()
        self._endpoint: Endpoint | None = None
        self._died: asyncio.Future[Death] | None = None

    async def ensure_ready(self) -> Endpoint:
        """Ask who it is, once. Raises `Unavailable` with the differing key."""
        async with self._asking:
            if self._endpoint is None:
                self._signal("start", self._url)
                try:
                    self._endpoint = await self._ask()
                except Unavailable as error:
                    self._signal("died", str(error))
                    raise
                self._signal("healthy", f"{self._endpoint.model} at {self._url}", self._facts(self._endpoint))
            return self._endpoint

    async def release(self) -> None:
        """Forget it; it runs on."""
        self._endpoint = None
        if self.state != "stopped":
            self._signal("stop" if self.state == "crashed" else "left", "it runs on")

    async def stop(self) -> None:
        """The same as `release`: it is not ours to stop."""
        await self.release()

    @property
    def alive(self) -> bool:
        """Whether it has been found; nobody tells us of its end."""
        return self.state == "ready"

    @property
    def died(self) -> asyncio.Future[Death]:
        """Never set: only its requests show that it is gone."""
        if self._died is None:
            self._died = asyncio.get_running_loop().create_future()
        return self._died

    async def _ask(self) -> Endpoint:
        key = given_key(self.profile, self._environ)
        try:
            health = await asyncio.to_thread(ask, self._url, "/health")
            if health.status == 503:
                raise Unavailable(f"the server at {self._url} is still loading its model; try again in a moment")
            found = await asyncio.to_thread(prove, self._url, key, asked_for(self.profile), wrong_key=False)
        except NoReply as error:
            raise Unavailable(f"no server answers at {self._url} ({error}); start it, or change url") from None
        except NotOurs as error:
            raise Unavailable(f"{error}; change the profile, or the server") from None
        return self._endpoint_of(found, key)

    def _endpoint_of(self, found: Identity, key: str | None) -> Endpoint:
        return Endpoint(
            url=self._url,
            api_key=key,
            engine="external",
            build=found.build,
            model=self.profile.model.id or found.model_id,
            model_path=found.model_path,
            slots=found.slots,
            context_tokens=found.context_tokens,
            adopted=True,
            request=self.profile.request.model_dump(exclude_none=True),
        )

    def _facts(self, endpoint: Endpoint) -> dict[str, Json]:
        names = ("url", "engine", "build", "model", "model_path", "context_tokens", "slots", "adopted")
        return {name: getattr(endpoint, name) for name in names}

    def _signal(self, signal: states.Signal, detail: str, facts: dict[str, Json] | None = None) -> None:
        self.state = states.after(self.state, signal)
        self._on_change(self.state, detail, facts or {})


def asked_for(profile: Profile) -> Expected:
    """What the profile says itself of an external server; its defaults ask for nothing."""
    said = profile.model_fields_set
    return Expected(
        model_path=None,
        model_id=profile.model.id,
        slots=profile.parallel if "parallel" in said else None,
        context_tokens=profile.context_per_slot if said & {"context", "context_total"} else None,
    )
