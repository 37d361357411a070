"""What the core asks of the world: one small Protocol per need, and the values that cross.

The adapter folders (`run server llama prompt tools record`) implement these and do not import each other;
`app` puts them together. Each port has a fake in `gptoss_flow.testing`.
"""

from __future__ import annotations

from gptoss_flow.ports.asking import Ask, Asking, nobody
from gptoss_flow.ports.completions import Chunk, Completions, FinalChunk
from gptoss_flow.ports.conversations import Conversations, Question, Said, SaidEnd
from gptoss_flow.ports.journal import Clock, Emit, Redact, Sink
from gptoss_flow.ports.models import (
    Api,
    Generation,
    Mode,
    Model,
    Models,
    OnText,
    PromptRequest,
    RenderedPrompt,
    UnreadableAnswer,
    continued,
)
from gptoss_flow.ports.servers import Endpoint, Server
from gptoss_flow.ports.tools import Grants, Kept, SandboxName, Tool, ToolContext
from gptoss_flow.ports.turns import Message, ToolCall, ToolSpec

__all__ = [
    "Api",
    "Ask",
    "Asking",
    "Chunk",
    "Clock",
    "Completions",
    "Conversations",
    "Emit",
    "Endpoint",
    "FinalChunk",
    "Generation",
    "Grants",
    "Kept",
    "Message",
    "Mode",
    "Model",
    "Models",
    "OnText",
    "PromptRequest",
    "Question",
    "Redact",
    "RenderedPrompt",
    "Said",
    "SaidEnd",
    "SandboxName",
    "Server",
    "Sink",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolSpec",
    "UnreadableAnswer",
    "continued",
    "nobody",
]
