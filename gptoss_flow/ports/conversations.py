"""OpenAI's APIs, where a server that is not llama.cpp's is asked."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gptoss_flow.events import Channel, Json
from gptoss_flow.ports.turns import Message, ToolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SaidEnd:
    """What is known at the end of an answer."""

    finish_reason: Literal["stop", "length"]
    usage: Mapping[str, int]
    timings: Mapping[str, float]
    """llama.cpp's own, where it is what answers."""
    sent: float
    queued_s: float
    called_a_tool: bool = False
    calls: tuple[tuple[str, str], ...] = ()
    """Name and arguments of each whole call, in order."""


@dataclass(frozen=True, slots=True)
class Said:
    """One event of an answer; the arguments of calls are on the commentary channel.

    `arrived` is as in `Chunk`; the last event, and only that, has `end`.
    """

    channel: Channel
    text: str
    arrived: float
    end: SaidEnd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked by one of OpenAI's APIs. Tools and calls have names as functions have there: without dots."""

    api: Literal["responses", "chat_completions"]
    mode: Literal["raw", "chat"] = "chat"
    messages: tuple[Message, ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    reasoning: str | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: str = "auto"
    schema: Mapping[str, Json] | None = None
    grammar: str | None = None


class Conversations(Protocol):
    """What `llama.openai_client.OpenAiClient` offers. Raises `StepError` (kinds server, model, timeout)."""

    def converse(self, question: Question) -> AsyncIterator[Said]:
        """Stream an answer; waits for a free slot first. Closing the iterator cancels it."""
