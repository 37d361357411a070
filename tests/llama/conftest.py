from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest

from gptoss_flow.llama.client import Client
from gptoss_flow.ports import Endpoint
from gptoss_flow.testing.clock import ManualClock
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Script


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class JumpingClock(ManualClock):
    """Nobody waits: a sleep moves the clock. `slept` holds all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


def endpoint(url: str, **facts: Any) -> Endpoint:
    defaults: dict[str, Any] = {
        "api_key": None,
        "engine": "llama-server",
        "build": "b0",
        "model": "fake",
        "model_path": "/models/fake.gguf",
        "slots": 2,
        "context_tokens": 4096,
    }
    return Endpoint(url=url, **(defaults | facts))


Talk = Callable[..., AbstractAsyncContextManager[tuple[Client, FakeServer]]]


@pytest.fixture
def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
def talk(clock: JumpingClock) -> Talk:
    """`talk(Script(…), **client_arguments)`: a client and the fake server that it talks to, over a real socket."""

    @asynccontextmanager
    async def talk(script: Script, **options: Any) -> AsyncIterator[tuple[Client, FakeServer]]:
        facts = options.pop("facts", {})
        async with FakeServer(script) as server:
            client = Client(endpoint(server.url, **facts), clock=clock, jitter=lambda: 0.5, **options)
            try:
                yield client, server
            finally:
                await client.aclose()

    return talk
