"""What the core asks of the world: one small Protocol per need, and the values that cross.

The adapter folders (`run server llama prompt tools record`) implement these and do not import each other;
`app` puts them together. Each port has a fake in `gptoss_flow.testing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from gptoss_flow.errors import StepError
from gptoss_flow.events import Channel, Event, Json, Stamped


class Clock(Protocol):
    """Time as the program sees it; `testing.ManualClock` moves only when told."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""

    async def sleep(self, seconds: float) -> None: ...


class Sink(Protocol):
    """Takes each event of a run as it happens. `take` raises `RecordError` if a promised write failed."""

    def take(self, stamped: Stamped) -> None: ...

    def close(self) -> None: ...


Emit = Callable[[Event], None]

Redact = Callable[[Event], Sequence[Event]]
"""What is to be recorded and shown in place of an event: mostly itself, without secrets."""


# --- servers ---------------------------------------------------------------------------------------------


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


# --- llama.cpp's HTTP interface, as the prompt adapter needs it --------------------------------------------


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a completion's stream. `arrived` is `time.perf_counter()` when its bytes were read."""

    text: str
    tokens: tuple[int, ...]
    arrived: float
    final: FinalChunk | None = None


@dataclass(frozen=True, slots=True)
class FinalChunk:
    """What the server says at the end of a completion (llama.cpp's last stream event, `stop: true`)."""

    stop_type: Literal["eos", "limit", "word", "none"]
    stopping_word: str
    truncated: bool
    tokens_evaluated: int
    tokens_predicted: int
    timings: Mapping[str, float]
    """llama.cpp's own: prompt_n, prompt_ms, cache_n, predicted_n, predicted_ms, …"""
    sent: float = 0.0
    """`time.perf_counter()` when the request was sent (the last time, if it was sent again)."""
    queued_s: float = 0.0
    """How long it waited on our side for a free slot before that."""


class Completions(Protocol):
    """What `llama.client.Client` offers. Methods raise `StepError` (kinds server, model, timeout)."""

    async def props(self) -> Mapping[str, Json]: ...

    async def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The model's own chat template over these messages, with the generation prompt, as text."""

    async def tokenize(self, text: str, *, special: bool, bos: bool = False) -> list[int]:
        """Token ids; `special` decides whether control tokens in `text` are parsed as such.

        `bos` puts the beginning-of-sequence token first where the model wants one (`add_special`).
        """

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The text that these tokens spell; a character that is cut in two comes back mangled or not at all."""

    def complete(self, tokens: Sequence[int], params: Mapping[str, Json]) -> AsyncIterator[Chunk]:
        """Stream a completion of a token array; waits for a free slot first. Closing the iterator cancels it."""


# --- OpenAI's APIs, where a server that is not llama.cpp's is asked ---------------------------------------


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


@dataclass(frozen=True, slots=True)
class Said:
    """One event of an answer. `arrived` is as in `Chunk`; the last event, and only that, has `end`."""

    channel: Channel
    text: str
    arrived: float
    end: SaidEnd | None = None


class Conversations(Protocol):
    """What `llama.openai_client.OpenAiClient` offers. Raises `StepError` (kinds server, model, timeout)."""

    def converse(
        self,
        mode: Literal["raw", "chat"],
        messages: Sequence[Message],
        params: Mapping[str, Json],
        reasoning: str | None = None,
    ) -> AsyncIterator[Said]:
        """Stream an answer; waits for a free slot first. Closing the iterator cancels it."""


# --- models: what a prompt step asks -------------------------------------------------------------------------

Mode = Literal["raw", "chat", "harmony", "auto"]


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "developer", "user", "assistant"]
    content: str


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    text: str
    """The answer: the final channel's text in Harmony mode."""
    tokens: tuple[int, ...]
    finish_reason: Literal["stop", "length"]
    usage: Mapping[str, int]
    timings: Mapping[str, float]
    reasoning: str = ""


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

    async def count_tokens(self, text: str) -> int: ...

    async def truncate(self, text: str, tokens: int) -> str:
        """The prefix of `text` that its first `tokens` tokens spell, cut at a character: never more tokens."""


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


# --- tools ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may touch. `readable` are folders that the user gave through an input of type path."""

    workspace: Path
    readable: tuple[Path, ...] = ()
    step: str = ""
    """The step (or item) that calls."""


class Tool(Protocol):
    """One description, JSON Schema and implementation, usable as a step and by a model."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Json]:
        """JSON Schema of the arguments, an object with `additionalProperties: false`."""

    @property
    def effect(self) -> Literal["pure", "idempotent", "once"]: ...

    @property
    def code(self) -> str:
        """What tells this version of the tool's code from others: a hash, or a version."""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        """Raises `StepError("tool", …)`; `arguments` have been checked against `parameters`."""
