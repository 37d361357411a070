"""A model server from Python: completions of text or tokens, streams, and answers with tools and schemas."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

from pydantic import ValidationError

from gptoss_flow.app.models import connected
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.events import Channel, Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.library.given import Asked, ToolLike, conversation, tools_of
from gptoss_flow.llama.client import Client as LlamaClient
from gptoss_flow.ports import Endpoint, Generation, Message, Model, OnText, PromptRequest, RenderedPrompt
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.steps.specs import specs

KEY = "GPTOSS_FLOW_CLIENT_KEY"
"""What the key is called on its way to whoever sends it; no such variable is read."""
Api = Literal["llama.cpp", "chat_completions", "responses"]


class Client:
    """Asks the server at an address: llama.cpp's, or by its `api` another that speaks OpenAI's.

    Enter it, or call `aclose` in the end. Methods raise `StepError` (kinds server, model, timeout), and
    `Unavailable` where no server answers. At most as many completions are in flight as the server has slots.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, api: Api = "llama.cpp", model: str | None = None
    ) -> None:
        """`model` is what another server than llama.cpp's calls the model. Raises `Invalid`."""
        given: dict[str, Any] = {"engine": "external", "url": url, "api": api}
        given |= {"api_key": f"env:{KEY}"} if api_key is not None else {}
        given |= {"model": {"id": model}} if model is not None else {}
        try:
            profile = Profile.model_validate(given)
        except ValidationError as error:
            raise Invalid(Problem(None, f'"{url}" {error.errors(include_url=False)[0]["msg"]}')) from None
        environ = {KEY: api_key} if api_key is not None else {}
        self._server = ExternalServer(profile, on_change=lambda *change: None, environ=environ)
        self._endpoint: Endpoint | None = None
        self._connected: tuple[LlamaClient, Model] | None = None
        self._connecting = asyncio.Lock()

    @classmethod
    def of(cls, endpoint: Endpoint) -> Client:
        """Of a server that is known already: `ServerManager.start` gives such."""
        client = cls(endpoint.url, api=endpoint.api, model=endpoint.model if endpoint.api != "llama.cpp" else None)
        client._endpoint = endpoint
        return client

    async def complete(
        self, prompt: str | Sequence[int], *, on_text: OnText | None = None, **params: Json
    ) -> Generation:
        """What the model goes on with. Text is encoded with no control token in it; tokens are sent as they are.

        `params` are sampling parameters by llama.cpp's names: `max_tokens`, `temperature`, `seed`, `stop` …
        """
        model = await self.model()
        if isinstance(prompt, str):
            request = PromptRequest(mode="raw", messages=(Message("user", prompt),), params=params)
            rendered = await model.render(request)
        else:
            rendered = RenderedPrompt(mode="raw", messages=(), tokens=tuple(prompt), params=params)
        return await model.generate(rendered, on_text or _nobody)

    async def stream(self, prompt: str | Sequence[int], **params: Json) -> AsyncGenerator[str, None]:
        """The same, piece by piece as it comes; closing the generator ends the request."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def arrived(channel: Channel, text: str, tokens: int) -> None:
            pieces.put_nowait(text)

        task = asyncio.create_task(self.complete(prompt, on_text=arrived, **params))
        task.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (text := await pieces.get()) is not None:
                if text:
                    yield text
            task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def responses(
        self,
        messages: Asked,
        *,
        tools: Sequence[ToolLike] = (),
        tool_choice: str = "auto",
        schema: Mapping[str, Json] | None = None,
        reasoning: Literal["low", "medium", "high"] | None = None,
        on_text: OnText | None = None,
        **params: Json,
    ) -> Generation:
        """An answer to a conversation by `/v1/responses`: `text`, `reasoning`, and `calls` of tools, none of which
        is made. Of a server that has another API, by that."""
        model = await self.model()
        assert self._endpoint is not None
        request = PromptRequest(
            mode="chat",
            messages=conversation(messages),
            params=params,
            tools=specs(tools_of(tools)),
            tool_choice=tool_choice,
            schema=schema,
            reasoning=reasoning,
            api="responses" if self._endpoint.api == "llama.cpp" else None,
        )
        return await model.generate(await model.render(request), on_text or _nobody)

    async def models(self) -> list[str]:
        """The ids of the models that the server offers."""
        return await (await self._client()).models()

    async def health(self) -> bool:
        """Whether it answers, and says that it is ready; whatever goes wrong means no."""
        try:
            return await (await self._client()).health()
        except Exception:
            return False

    async def aclose(self) -> None:
        if self._connected is not None:
            (client, _), self._connected = self._connected, None
            await client.aclose()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def endpoint(self) -> Endpoint | None:
        """The server, once it has been asked."""
        return self._endpoint

    async def model(self) -> Model:
        """The model behind it, as prompt steps ask it."""
        return (await self._connect())[1]

    async def _client(self) -> LlamaClient:
        return (await self._connect())[0]

    async def _connect(self) -> tuple[LlamaClient, Model]:
        async with self._connecting:
            if self._endpoint is None:
                self._endpoint = await self._server.ensure_ready()
            if self._connected is None:
                self._connected = connected(self._endpoint, SystemClock(), None)
            return self._connected


def _nobody(channel: Channel, text: str, tokens: int) -> None:
    """Where nobody watches the answer come."""
