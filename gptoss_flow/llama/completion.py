"""One event of a completion's stream: the text and token ids that came, and what the last one says.

Pure, and as tolerant as `wire`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gptoss_flow.events import Json
from gptoss_flow.llama.wire import count, is_ids, not_understood, read_stream_data
from gptoss_flow.ports import FinalChunk

_STOP_TYPES: dict[str, Literal["eos", "limit", "word"]] = {"eos": "eos", "limit": "limit", "word": "word"}


@dataclass(frozen=True, slots=True)
class CompletionEvent:
    """One event of a completion's stream. `predicted` counts the tokens generated so far, if the server says."""

    text: str
    tokens: tuple[int, ...]
    predicted: int | None
    final: FinalChunk | None


def read_event(data: str) -> CompletionEvent | None:
    """What one stream event says; null for OpenAI's `[DONE]`, which proves nothing. Raises `StepError`."""
    event = read_stream_data(data)
    if event is None:
        return None
    text, tokens, stop = event.get("content"), event.get("tokens", []), event.get("stop", False)
    if not isinstance(text, str) or not is_ids(tokens) or not isinstance(stop, bool):
        raise not_understood(data)
    predicted = count(event.get("tokens_predicted"))
    final = _final(event) if stop else None
    return CompletionEvent(text.encode("utf-8", "replace").decode(), tuple(tokens), predicted, final)


def _final(event: Mapping[str, Json]) -> FinalChunk:
    word, timings = event.get("stopping_word"), event.get("timings")
    return FinalChunk(
        stop_type=_STOP_TYPES.get(str(event.get("stop_type")), "none"),
        stopping_word=word if isinstance(word, str) else "",
        truncated=event.get("truncated") is True,
        tokens_evaluated=count(event.get("tokens_evaluated")) or 0,
        tokens_predicted=count(event.get("tokens_predicted")) or 0,
        timings={
            name: value
            for name, value in (timings.items() if isinstance(timings, dict) else ())
            if type(value) in (int, float) and abs(value) < 1e300
        },
    )


def missing_tokens(known: Sequence[int], generated: int, retokenised: Sequence[int]) -> tuple[int, ...]:
    """The ids of an event that stands for `generated` tokens but names fewer, from its text's tokenisation.

    llama.cpp holds back a character until it is complete, and then names only the last of its tokens. The
    text's own tokenisation has the same bytes, and the same ids wherever the model wrote it the usual way.
    """
    if generated <= len(known) or not retokenised:
        return tuple(known)
    return tuple(retokenised[-generated:])
