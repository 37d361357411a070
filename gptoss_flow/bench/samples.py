"""One request of a trial: what its times come to, and how it stands on record. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gptoss_flow import metrics
from gptoss_flow.events import Json
from gptoss_flow.ports import FinalChunk

COLUMNS = (
    "at", "prompt_tokens", "cached_tokens", "tokens", "ttft", "ttfo", "tpot", "latency", "queue", "prefill",
    "decode", "prefill_tps", "decode_tps",
)  # fmt: skip
"""Of a request on record. `at` is when it was sent, from the beginning of the trial's window; times in seconds."""
TIMES = ("ttft", "ttfo", "tpot", "latency", "queue", "prefill", "decode", "prefill_tps", "decode_tps")
"""Those that are distributions over requests."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A request that succeeded. Times in seconds; what the server did not tell is None."""

    sent: float
    """`time.perf_counter()`, like `last`."""
    last: float
    """When the last token came."""
    prompt_tokens: int
    cached_tokens: int
    tokens: int
    values: Mapping[str, float]
    """By metric."""
    gaps: Sequence[float] = field(repr=False, default=())
    arrivals: Sequence[metrics.Arrival] = field(repr=False, default=())

    def row(self, began: float) -> list[Json]:
        """As it stands on record, in the order of `COLUMNS`; to the microsecond."""
        counts = [self.prompt_tokens, self.cached_tokens, self.tokens]
        times = [round(self.values[name], 6) if name in self.values else None for name in TIMES]
        return [round(self.sent - began, 6), *counts, *times]


def sample(
    sent: float, arrivals: Sequence[metrics.Arrival], first_final: float | None, final: FinalChunk
) -> Sample:
    """What a completion's arrivals and the server's own timings come to."""
    timed = metrics.timings(sent, arrivals, final.timings, finished=arrivals[-1][0], first_final=first_final)
    usage = metrics.usage(
        tokens_evaluated=final.tokens_evaluated, tokens_predicted=final.tokens_predicted, server=final.timings
    )
    values = {name.removesuffix("_s"): value for name, value in timed.items()}
    computed = usage["prompt_tokens"] - usage["cached_tokens"]
    if values.get("ttft"):
        values["client_prefill_tps"] = computed / values["ttft"]
    if values.get("tpot"):
        values["client_decode_tps"] = 1 / values["tpot"]
    with_tokens = [(at, n) for at, n in arrivals if n]
    return Sample(
        sent=sent,
        last=with_tokens[-1][0] if with_tokens else arrivals[-1][0],
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["cached_tokens"],
        tokens=sum(n for _, n in with_tokens),
        values=values,
        gaps=metrics.gaps_s(arrivals),
        arrivals=with_tokens,
    )
