"""A server that somebody else runs: looked at, never started, stopped or signalled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.events import Json, ServerState
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Endpoint
from gptoss_flow.server import states
from gptoss_flow.server.causes import Death
from gptoss_flow.server.identity import Expected, Identity, NotOurs, prove, shown
from gptoss_flow.server.openai_identity import offered_model
from gptoss_flow.server.probe import NoReply, Untrusted, ask
from gptoss_flow.server.problems import KeyProblem
from gptoss_flow.server.record import ServerRecord, list_servers, state_root
from gptoss_flow.server.settings import given_key
from gptoss_flow.urls import means

TRUST_HINT = "name its authority's file in $SSL_CERT_FILE, or change url"


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
        if profile.api != "llama.cpp":
            self._url = self._url.removesuffix("/v1")  # which other programs want to have in the address
        self._on_change = on_change
        self._environ = environ
        self._asking = asyncio.Lock()
        self._asked = 0
        self._endpoint: Endpoint | None = None
        self._died: asyncio.Future[Death] | None = None

    async def ensure_ready(self) -> Endpoint:
        """Ask who it is, each time: it may have changed. Raises `Unavailable` with the differing keys."""
        before = self._asked
        async with self._asking:
            if self._endpoint is not None and self._asked > before:
                return self._endpoint  # somebody else has asked in the meantime
            self._asked += 1
            if self._endpoint is None:
                self._signal("start", self._url)
            try:
                found = await self._ask()
            except Unavailable as error:
                self._endpoint = None
                self._signal("died", str(error))
                raise
            if self._endpoint is None or found != self._endpoint:
                if self._endpoint is not None:
                    self._signal("left", "it has changed")
                self._endpoint = found
                self._signal("healthy", f"{found.model} at {self._url}", self._facts(found))
            return self._endpoint

    async def release(self) -> None:
        """Forget it; it runs on."""
        self._endpoint = None
        if self.state != "stopped":
            if self.state == "crashed":
                self._signal("stop", "")
            else:
                self._signal("left", "it runs on")

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
            found = await asyncio.to_thread(self._look, key)
        except Untrusted as error:
            said = f"the certificate of {self._url} is not trusted: {error}"
            raise Unavailable(KeyProblem(None, said, TRUST_HINT, ("url",))) from None
        except NoReply as error:
            if self._endpoint is not None:
                return self._endpoint  # it is busy, or gone: the request will tell
            said = f"no server answers at {self._url} ({error})"
            raise Unavailable(KeyProblem(None, said, "start it, or change url", ("url",))) from None
        if self._endpoint is not None and found.model != self._endpoint.model:
            said = f"the server at {self._url} has {shown(found.model)} now, and had {shown(self._endpoint.model)}"
            hint = "start again, with model.id in the profile to be sure of the model"
            raise Unavailable(KeyProblem(None, f"model.id: {said}", hint, ("model", "id")))
        return found

    def _look(self, key: str | None) -> Endpoint:
        """Blocking. Raises `Unavailable`, `NoReply`."""
        if self.profile.api != "llama.cpp":
            return self._offered(offered_model(self._url, key, self.profile), key)
        if self._endpoint is None and ask(self._url, "/health").status == 503:
            raise Unavailable(f"the server at {self._url} is still loading its model; try again in a moment")
        try:
            return self._endpoint_of(prove(self._url, key, asked_for(self.profile), wrong_key=False), key)
        except NotOurs as error:
            said = f"the server at {self._url} is not what the profile asks for"
            different = [
                replace(each, message=f"{said}: {each.message}", path=each.path if self._says(each) else ("url",))
                for each in error.differences
            ]
            if any(each.path == ("api_key",) for each in error.differences) and (own := self._managed()):
                said = (
                    f"the server at {self._url} does not accept the key: it is managed here, by profile {own.name}"
                )
                raise Unavailable(Problem(None, said, "name that profile in place of the address")) from None
            hint = "change url; a server with OpenAI's API needs api: chat_completions or responses in its profile"
            raise Unavailable(*different or [KeyProblem(None, str(error), hint, ("url",))]) from None

    def _managed(self) -> ServerRecord | None:
        """What this user's own servers say of one at this address."""
        return next((each for each in list_servers(state_root()) if means(self._url, each.url)), None)

    def _says(self, problem: KeyProblem) -> bool:
        """Whether the profile says the key itself, and so has a place to point at."""
        return problem.path[0] in self.profile.model_fields_set

    def _offered(self, model: str, key: str | None) -> Endpoint:
        profile = self.profile
        return Endpoint(
            url=self._url,
            api_key=key,
            engine="external",
            build="",
            model=model,
            model_path="",
            slots=profile.parallel,
            context_tokens=profile.context_per_slot if _says_context(profile) else 0,
            adopted=True,
            request=profile.request.model_dump(exclude_none=True),
            api=profile.api,
        )

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
        names = ("url", "engine", "build", "model", "model_path", "context_tokens", "slots", "adopted", "api")
        facts = {name: getattr(endpoint, name) for name in names}
        return facts if endpoint.context_tokens else facts | {"context_tokens": "?"}

    def _signal(self, signal: states.Signal, detail: str, facts: dict[str, Json] | None = None) -> None:
        self.state = states.after(self.state, signal)
        self._on_change(self.state, detail, facts or {})


def _says_context(profile: Profile) -> bool:
    return profile.context is not None or profile.context_total is not None


def asked_for(profile: Profile) -> Expected:
    """What the profile says itself of an external server; its defaults ask for nothing."""
    said = profile.model_fields_set
    return Expected(
        model_path=None,
        model_id=profile.model.id,
        slots=profile.parallel if "parallel" in said else None,
        context_tokens=profile.context_per_slot if _says_context(profile) else None,
        build=profile.build,
    )
