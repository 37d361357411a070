"""A server of one profile, and where it is once it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from gptoss_flow.events import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server that is ready and proved to be the one that was asked for."""

    url: str
    """`http://127.0.0.1:PORT`, no slash at the end."""
    api_key: str | None = field(repr=False)
    engine: Literal["llama-server", "embedded", "external", "scripted"]
    build: str
    model: str
    """A short name for people: the file's stem or the endpoint's model id."""
    model_path: str
    slots: int
    context_tokens: int
    """What one request may use: prompt and answer together."""
    pid: int | None = None
    log_path: Path | None = None
    adopted: bool = False
    """True if it was already running."""
    request: Mapping[str, Json] = field(default_factory=dict)
    """The profile's default sampling parameters."""
    api: Literal["llama.cpp", "chat_completions", "responses"] = "llama.cpp"
    """How it is spoken to. By OpenAI's APIs, `model` is what it calls the model, and `context_tokens` may be 0."""


class Server(Protocol):
    """A managed server of one profile, as its users hold it. Callers ask for the outcome and never look first."""

    async def ensure_ready(self) -> Endpoint:
        """Start it, or attach to it, or find it still alive. Raises `Unavailable` with the cause."""

    async def release(self) -> None:
        """This user is done: the server stops, or stays as its profile says."""
