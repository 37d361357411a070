"""What a conversation is made of: its turns, the tools that a model is told of, its calls of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gptoss_flow.events import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """What a model is told of a tool: a `Tool` without its implementation."""

    name: str
    """As the flow calls it; `browser.open` is the function `open` of the tool `browser`."""
    description: str
    parameters: Mapping[str, Json]
    """JSON Schema of the arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call that a model made, read but not yet judged: nothing of it has been checked against a tool."""

    id: str
    """Unique in its conversation; the answer names it."""
    name: str
    """As `ToolSpec.name`, without Harmony's `functions.`."""
    arguments: str
    """As the model wrote them: JSON, or what it took for such (the code itself, of Harmony's `python`)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A turn of a conversation, in the words of OpenAI's chat API."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str
    reasoning: str = ""
    """Of an assistant's turn: what it thought before (Harmony's analysis)."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Of an assistant's turn: what it called, after saying `content`."""
    tool_call_id: str = ""
    """Of a tool's turn: the call that it answers."""
    name: str = ""
    """Of a tool's turn: the tool."""
