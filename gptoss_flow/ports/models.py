"""Models: what a prompt step asks, and what it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from gptoss_flow.errors import StepError
from gptoss_flow.events import Channel, Json
from gptoss_flow.ports.turns import Message, ToolCall, ToolSpec

Mode = Literal["raw", "chat", "harmony", "auto"]
Api = Literal["completion", "responses", "chat_completions"]
"""How a model is asked: with token ids, or by one of OpenAI's APIs, where the server makes the prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRequest:
    """A prompt step's question with every value resolved. `messages` is one user message in raw mode."""

    mode: Mode
    messages: tuple[Message, ...]
    params: Mapping[str, Json] = field(default_factory=dict)
    """Sampling parameters of the step, by llama.cpp's names; the profile's `request` lies under them."""
    reasoning: Literal["low", "medium", "high"] | None = None
    special: bool = False
    """Raw mode only: control tokens in the text are parsed as such."""
    date: str = ""
    """YYYY-MM-DD of the run, for Harmony's system message: frozen per run."""
    step: str = ""
    """The step (or item) that asks: scripted models choose their reply by it."""
    tools: tuple[ToolSpec, ...] = ()
    """What the model may call."""
    tool_choice: str = "auto"
    """`auto`, `none`, `required`, or a tool's name."""
    schema: Mapping[str, Json] | None = None
    """JSON Schema that the answer must follow (Harmony: its final message)."""
    grammar: str | None = None
    """GBNF that the answer must follow; never together with `schema`."""
    api: Api | None = None
    """None leaves it to the model: token ids wherever the server takes them and can say all that is asked."""
    on_overflow: Literal["truncate_history", "raw"] | None = None
    """Where the conversation does not fit the context: leave out its oldest turns, or send its texts in raw mode.
    None: refuse it. What was done is in `RenderedPrompt.warnings`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedPrompt:
    mode: Literal["raw", "chat", "harmony"]
    messages: tuple[Message, ...]
    tokens: tuple[int, ...]
    params: Mapping[str, Json]
    """As they will be sent: profile defaults, then the step's, then what the mode needs (stop tokens)."""
    step: str = ""
    """As in the request."""
    reasoning: Literal["low", "medium", "high"] | None = None
    """As in the request, where it is not in the tokens already."""
    request: PromptRequest | None = None
    """What this renders; None where a test made it by hand."""
    api: Api = "completion"
    """How it will be sent; `tokens` are empty where the server makes the prompt."""
    warnings: tuple[str, ...] = ()
    """What was done to it that its author must know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    text: str
    """The answer: the final channel's text in Harmony mode."""
    tokens: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    usage: Mapping[str, int]
    timings: Mapping[str, float]
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    """The tools that the model wants called before it goes on; only from messages that could be read whole."""


class UnreadableAnswer(StepError):
    """A model ended its turn without an answer: no final message, or a call of a tool that it was not given.

    Another try may do better. `generation` is what came, for the record.
    """

    def __init__(self, message: str, generation: Generation) -> None:
        super().__init__("model", message)
        self.generation = generation


OnText = Callable[[Channel, str, int], None]
"""Called with each piece of an answer as it arrives: channel, text, number of tokens."""


class Model(Protocol):
    """A model that answers prompts: a served one (`prompt.served`), or a scripted one in tests and demos."""

    async def render(self, request: PromptRequest) -> RenderedPrompt: ...

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation: ...

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        """The conversation goes on: the prompt, the answer as it was generated (its very ids, so that the KV cache
        holds), and these turns: a tool's results, or what a user says to it. Raises as `render` does."""

    async def count_tokens(self, text: str) -> int: ...

    async def truncate(self, text: str, tokens: int) -> str:
        """The prefix of `text` that its first `tokens` tokens spell, cut at a character: never more tokens."""


def continued(prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> PromptRequest:
    """What `Model.extend` asks, as a request of its own: the same conversation with the answer and these turns."""
    said = Message("assistant", answer.text, reasoning=answer.reasoning, tool_calls=answer.calls)
    assert prompt.request is not None
    return replace(prompt.request, messages=(*prompt.request.messages, said, *turns))


class Models(Protocol):
    """The models behind a flow's server names."""

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        """Find or fetch what these servers need, before any step runs; how many slots each has.

        Raises `Unavailable`.
        """

    def identity(self, server: str) -> Mapping[str, str]:
        """What of this server decides an answer, after `prepare`: hashes of `model` and load-time `profile`."""

    async def get(self, server: str) -> Model:
        """Waits until the server is ready."""

    async def release(self, server: str) -> None:
        """No step of this run will ask this server again."""

    async def close(self) -> None:
        """Cancel what runs, release every server. Safe to call twice."""
