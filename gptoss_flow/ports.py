"""What the core asks of the world: one small Protocol per need, and the values that cross.

The adapter folders (`run server llama prompt tools record`) implement these and do not import each other;
`app` puts them together. Each port has a fake in `gptoss_flow.testing`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

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


# --- models: what a prompt step asks -------------------------------------------------------------------------

Mode = Literal["raw", "chat", "harmony", "auto"]


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


# --- what a person is asked --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A call of a tool that a person is to decide."""

    step: str
    call_id: str
    tool: str
    arguments: Mapping[str, Json]


Ask = Callable[[Asking], Awaitable[Literal["approved", "declined", "unasked"]]]
"""Shows a call to whoever may decide on it, and waits; `unasked`: there is nobody."""


async def nobody(asking: Asking) -> Literal["unasked"]:
    """The `Ask` of a run without a terminal."""
    return "unasked"


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

SandboxName = Literal["auto", "bwrap", "sandbox-exec", "docker", "podman", "dangerously_none"]
"""What tool code runs in; `auto`: bubblewrap on Linux, sandbox-exec on macOS."""

K = TypeVar("K")


class Kept:
    """What tools keep between calls (an interpreter, opened pages, panes), by a key of their own.

    Whoever owns it closes it: what was kept and has an async `aclose` is closed, the last kept first.
    """

    def __init__(self) -> None:
        self._things: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], K]) -> K:
        """The thing under this key, made now if there is none."""
        if key not in self._things:
            self._things[key] = make()
        return self._things[key]  # type: ignore[no-any-return]

    def drop(self, key: str) -> None:
        """Forget a thing, which the caller has closed."""
        self._things.pop(key, None)

    async def aclose(self) -> None:
        """Safe to call twice. Every thing is closed, whatever the closing of others raises."""
        while self._things:
            _, thing = self._things.popitem()
            if (close := getattr(thing, "aclose", None)) is not None:
                with suppress(Exception):
                    await close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the flow grants to tools beyond the workspace; the model may propose, never grant."""

    hosts: tuple[str, ...] = ()
    """Hosts that `http` may ask: `example.org`, `*.example.org`; private ones as a literal address with its
    port, `127.0.0.1:8080`. Where there are some, `browser` opens no others."""
    within: tuple[tuple[str, ...], ...] = ()
    """Of each flow around this one that grants hosts: what it grants. Nothing beyond any of these is opened."""
    network: bool = False
    """Whether tool code in the sandbox may use the network."""
    sandbox: SandboxName = "auto"
    sandboxed: bool = False
    """The step says `sandbox` itself: then the user's own functions run in it too."""
    unsandboxed: bool = False
    """The user's own word (`--allow-unsandboxed`), without which `dangerously_none` is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may touch. `readable` are folders that the user gave through an input of type path."""

    workspace: Path
    readable: tuple[Path, ...] = ()
    """Empty where a model calls."""
    step: str = ""
    """The step (or item) that calls."""
    call_id: str = ""
    """Unique in the run."""
    grants: Grants = Grants()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that the step gives to tool code; there may be secrets among them."""
    kept: Kept = field(default_factory=Kept)
    """For the length of the step."""
    kept_for_run: Kept = field(default_factory=Kept)
    """For the length of the run, shared by all its steps."""


class Tool(Protocol):
    """One description, JSON Schema and implementation, usable as a step and by a model."""

    @property
    def name(self) -> str:
        """`NAME`, or `GROUP.NAME` where several tools are granted together as `GROUP`."""

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
        """Raises `StepError("tool", …)`; `arguments` have been checked against `parameters`.

        Cancelling it ends what it started."""
