"""`gptoss-flow bench N`: a few raw completions one after the other, and how long they took."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import click

from gptoss_flow.app.query import Reply, ask
from gptoss_flow.bench.stats import percentile
from gptoss_flow.cli.asked import ask_server
from gptoss_flow.errors import ExitCode, FlowError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.llama.blocking import BlockingClient

GIVE_UP_AFTER = 3
"""So many failures from the beginning: the server is not asked any more."""


@dataclass
class Sampled:
    """What came of it."""

    replies: list[Reply] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def told(self, server: str, asked: int) -> dict[str, Json]:
        """As `--format json` prints it. Times in seconds; percentiles by linear interpolation."""
        latencies = [reply.total_s for reply in self.replies]
        rates = [rate for reply in self.replies if (rate := _rate(reply.timings, "predicted"))]
        return {
            "server": server,
            "asked": asked,
            "runs": len(self.replies),
            "failed": len(self.failures),
            "errors": dict(Counter(self.failures)),
            "latency": _spread(latencies),
            "ttft": _spread([reply.ttft_s for reply in self.replies]),
            "decode_tps": percentile(sorted(rates), 0.5) if rates else None,
        }


def take_sample(
    number: int,
    profile: str | None,
    url: str | None,
    prompt: str,
    params: Mapping[str, Json],
    pause_s: float,
    *,
    as_json: bool,
    offline: bool,
    quiet: bool,
) -> int:
    """Ask, and print; the exit code. Raises `Invalid`, `Unavailable`."""
    if number < 1:
        raise click.UsageError("bench N: at least one request")

    def use(client: BlockingClient) -> Sampled:
        sampled = Sampled()
        for turn in range(number):
            if turn:
                time.sleep(pause_s)
            try:
                sampled.replies.append(ask(client, prompt, {**params, "cache_prompt": False}, lambda piece: None))
            except FlowError as error:
                sampled.failures.append(one_line(str(error)))
            if not sampled.replies and len(sampled.failures) >= GIVE_UP_AFTER:
                break
        return sampled

    sampled, server = ask_server(profile, url, use, offline=offline, quiet=quiet)
    told = sampled.told(server, number)
    click.echo(json.dumps(told, indent=2, ensure_ascii=False) if as_json else _lines(told))
    return int(ExitCode.OK if len(sampled.replies) == number else ExitCode.FAILED)


def _spread(values: list[float]) -> dict[str, Json] | None:
    ordered = sorted(values)
    if not ordered:
        return None
    shares = {"p50": 0.5, "p95": 0.95}
    found = {"min": ordered[0], **{name: percentile(ordered, share) for name, share in shares.items()}}
    return {name: round(value, 6) for name, value in (found | {"max": ordered[-1]}).items()}


def _rate(timings: Mapping[str, Json], name: str) -> float | None:
    """Tokens a second, as the server timed them."""
    count, took_ms = timings.get(f"{name}_n"), timings.get(f"{name}_ms")
    if isinstance(count, int | float) and isinstance(took_ms, int | float) and took_ms > 0:
        return count / took_ms * 1000
    return None


def _lines(told: Mapping[str, Json]) -> str:
    lines = [
        f"runs     {told['runs']} of {told['asked']}" + (f", {told['failed']} failed" if told["failed"] else "")
    ]
    for name in ("latency", "ttft"):
        if spread := told[name]:
            shown = "  ".join(f"{word} {value * 1000:.1f} ms" for word, value in spread.items())
            lines.append(f"{name:<8} {shown}")
    if told["decode_tps"] is not None:
        lines.append(f"decode   {told['decode_tps']:.1f} tokens/s, by the server's own clock")
    lines += [f"error    {count} times {said}" for said, count in told["errors"].items()]
    return "\n".join(lines)
