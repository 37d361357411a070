"""llama.cpp's HTTP interface, as the prompt adapter needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from gptoss_flow.events import Json


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
