"""What a generation took: from its tokens' arrivals and the server's own timings to the recorded numbers.

Pure. Times are `time.perf_counter()` stamps taken when bytes were read; results are in seconds (`_s`) and
tokens a second (`_tps`). What cannot be known is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

Arrival = tuple[float, int]
"""When a chunk's bytes were read, and how many tokens it holds."""


def timings(
    sent: float,
    arrivals: Sequence[Arrival],
    server: Mapping[str, float],
    *,
    finished: float | None = None,
    first_final: float | None = None,
    queued_s: float = 0.0,
) -> dict[str, float]:
    """The `timings` of `GenerationFinished`.

    `sent` is when the request was sent, `finished` when the stream's last event came, `first_final` when the first
    token of the final channel came, `queued_s` how long the request waited on our side for a free slot,
    `server` llama.cpp's `timings`.

    `ttft_s` request sent to first token; `ttfo_s` to the first one of the final channel; `latency_s` to the last
    token; `tpot_s` (last - first) / (n - 1); `prefill_s`, `decode_s`, `prefill_tps`, `decode_tps` as the server
    measured them; `queue_s` the wait on our side plus latency - prefill - decode.
    """
    with_tokens = [(at, n) for at, n in arrivals if n > 0]
    tokens = sum(n for _, n in with_tokens)
    prefill_s = server.get("prompt_ms", 0.0) / 1000
    decode_s = server.get("predicted_ms", 0.0) / 1000
    measured: dict[str, float] = {}
    if with_tokens:
        first, last = with_tokens[0][0], with_tokens[-1][0]
        measured["ttft_s"] = first - sent
        if first_final is not None:
            measured["ttfo_s"] = first_final - sent
        measured["latency_s"] = last - sent
        if tokens > 1:
            measured["tpot_s"] = (last - first) / (tokens - 1)
    elif finished is not None:
        measured["latency_s"] = finished - sent
    if "latency_s" in measured:
        unexplained_s = measured["latency_s"] - prefill_s - decode_s
        measured["queue_s"] = queued_s + max(0.0, unexplained_s)
    if prefill_s > 0:
        measured["prefill_s"] = prefill_s
        measured["prefill_tps"] = server.get("prompt_n", 0) / prefill_s
    if decode_s > 0:
        measured["decode_s"] = decode_s
        measured["decode_tps"] = server.get("predicted_n", 0) / decode_s
    return measured


def gaps_s(arrivals: Sequence[Arrival]) -> list[float]:
    """ITL: the gap before each token but the first. The gap before a chunk is shared equally by its tokens.

    Tokens that came together with the first one have no gap: nothing was waited for between them.
    """
    with_tokens = [(at, n) for at, n in arrivals if n > 0]
    if not with_tokens:
        return []
    gaps = [0.0] * (with_tokens[0][1] - 1)
    for (before, _), (at, n) in pairwise(with_tokens):
        gaps += [(at - before) / n] * n
    return gaps


def usage(
    *, tokens_evaluated: int, tokens_predicted: int, server: Mapping[str, float], reasoning_tokens: int = 0
) -> dict[str, int]:
    """The `usage` of `GenerationFinished`: `prompt_tokens` is all of it, `cached_tokens` the reused part."""
    return {
        "prompt_tokens": tokens_evaluated,
        "cached_tokens": int(server.get("cache_n", 0)),
        "completion_tokens": tokens_predicted,
        "reasoning_tokens": reasoning_tokens,
    }
