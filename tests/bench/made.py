"""Benches in tests: a target at an address, with a model that only makes up token ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gptoss_flow.bench.runner import BenchRunner
from gptoss_flow.bench.target import Target
from gptoss_flow.events import BenchJudged, Event, Json, TrialFinished
from gptoss_flow.llama.timed import TimedClient
from gptoss_flow.ports import Chunk, Endpoint, Message, PromptRequest, RenderedPrompt
from gptoss_flow.trials import BenchRequest, BenchResult, Load


class Letters:
    """A model whose tokens are the letters of a text."""

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        text = "".join(message.content for message in request.messages)
        return RenderedPrompt(
            mode="raw", messages=request.messages, tokens=tuple(text.encode()), params=request.params
        )


async def first_of_all(mode: str) -> Callable[[Sequence[Chunk]], float | None]:
    return lambda chunks: next((chunk.arrived for chunk in chunks if chunk.text), None)


def endpoint(url: str, **facts: Any) -> Endpoint:
    known: dict[str, Any] = {
        "api_key": None, "engine": "llama-server", "build": "b1", "model": "fake", "model_path": "/fake.gguf",
        "slots": 4, "context_tokens": 4096,
    }  # fmt: skip
    return Endpoint(url=url, **(known | facts))


def target(url: str, **more: Any) -> Target:
    at = endpoint(url)
    known: dict[str, Any] = {
        "endpoint": at, "model": Letters(), "client": TimedClient(at), "final_finder": first_of_all,
        "died": asyncio.get_running_loop().create_future(),
        "fingerprint": {"engine": "llama-server", "build": "b1", "model": "fake.gguf", "profile": "p"},
    }  # fmt: skip
    return Target(**(known | more))


def request(**more: Any) -> BenchRequest:
    known: dict[str, Any] = {
        "step": "fast", "attempt": 1, "server": "main", "mode": "raw", "prompts": ((Message("user", "x" * 48),),),
        "params": {"max_tokens": 12, "cache_prompt": False}, "loads": (Load(concurrency=1),), "requests": 30,
        "request_timeout_s": 20.0,
    }  # fmt: skip
    return BenchRequest(**(known | more))


class Bench:
    """Benches of the server at an address; `events` are what they emitted."""

    def __init__(
        self, url: str, folder: Path = Path(), make: Callable[[], Target] | None = None, **more: Any
    ) -> None:
        self.events: list[Event] = []
        self.opened: list[Mapping[str, Json]] = []
        self._url = url

        @asynccontextmanager
        async def open_target(server: str, changes: Mapping[str, Json], number: int) -> AsyncIterator[Target]:
            self.opened.append(changes)
            yield make() if make else target(self._url)

        known: dict[str, Any] = {
            "open_target": open_target, "recorded": lambda wanted: [], "identity": lambda server: {"model": "m"},
            "folder": folder, "earlier": {}, "share": lambda server, changes, said: f"extends: {server}\n",
        }  # fmt: skip
        self._known = known | more

    async def measure(self, asked: BenchRequest) -> BenchResult:
        return await BenchRunner(**self._known).measure(asked, self.events.append)

    @property
    def trials(self) -> list[TrialFinished]:
        return [event for event in self.events if isinstance(event, TrialFinished)]

    @property
    def judged(self) -> list[BenchJudged]:
        return [event for event in self.events if isinstance(event, BenchJudged)]
