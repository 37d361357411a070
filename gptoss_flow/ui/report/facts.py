"""The words and numbers of a report: marks of outcomes, durations, tokens, speeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from gptoss_flow.events import Json
from gptoss_flow.record.state import Tokens
from gptoss_flow.ui.report.view import Turn, Unit
from gptoss_flow.words import count

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
"""In no locale's words."""
MARKS = {
    "succeeded": "✓",
    "failed": "✕",
    "skipped": "–",  # noqa: RUF001
    "cancelled": "⊘",
    "limited": "⊘",
    "running": "…",
    "unfinished": "…",
    "waiting": "·",
    "unreached": "·",
}
"""Beside the colour, for those who see none."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """Of one turn or of many; None where no server told it."""

    ttft_s: float | None
    """The median of many."""
    prefill_tps: float | None
    """Tokens over the seconds that went into them, like `decode_tps`."""
    decode_tps: float | None


def speeds(turns: Iterable[Turn]) -> Speeds:
    ttft: list[float] = []
    prefill, decode = _Rate(), _Rate()
    for turn in turns:
        if turn.answer is None:
            continue
        timings, tokens = turn.answer.timings, Tokens()
        tokens.add(turn.answer.usage)
        if (first := number(timings.get("ttft_s"))) is not None:
            ttft.append(first)
        prefill.add(tokens.computed, number(timings.get("prefill_tps")))
        decode.add(tokens.generated, number(timings.get("decode_tps")))
    return Speeds(median(ttft) if ttft else None, prefill.tps, decode.tps)


class _Rate:
    def __init__(self) -> None:
        self._tokens, self._seconds = 0, 0.0

    def add(self, tokens: int, tps: float | None) -> None:
        if tps and tps > 0 and tokens > 0:
            self._tokens += tokens
            self._seconds += tokens / tps

    @property
    def tps(self) -> float | None:
        return self._tokens / self._seconds if self._seconds else None


def number(value: Json) -> float | None:
    """A finite number of a record; None for whatever else stands there."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e15 and math.isfinite(value) else None


def took(seconds: Json) -> str:
    """`0.3 ms`, `41 ms`, `3.2 s`, `2 min 5 s`."""
    value = number(seconds)
    if value is None or value < 0:
        return ""
    if value < 0.0995:
        return f"{value * 1000:.0f} ms" if value >= 0.0095 else f"{value * 1000:.1f} ms"
    if value < 59.95:
        return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def moment(at: str) -> str:
    """`29 Nov 2026, 20:01:50 UTC`; as it is where it is no time."""
    try:
        parsed = datetime.fromisoformat(at).astimezone(UTC)
    except (ValueError, OverflowError):
        return at
    return f"{parsed.day} {_MONTHS[parsed.month - 1]} {parsed:%Y, %H:%M:%S} UTC"


def thousands(value: Json) -> str:
    """`12,345` of a whole number."""
    return f"{value:,}" if isinstance(value, int) else ""


def rate(tps: Json) -> str:
    """Tokens a second, without the unit."""
    tps = number(tps)
    return "" if tps is None else f"{tps:.1f}" if tps < 100 else f"{tps:,.0f}"


def detail(unit: Unit) -> str:
    """What stands under a step's name in the graph: `prompt · 5 items · 48.8 s`."""
    step = unit.step
    said = [step.kind, count(step.item_count, "item") if step.item_count is not None else ""]
    said.append(unit.outcome if step.outcome in (None, "skipped", "cancelled") else took(step.duration_s))
    return " · ".join(filter(None, said))


def remarks(unit: Unit) -> list[str]:
    """What is to be said of a step in one line beside its outcome."""
    step = unit.step
    ended = [part.step.outcome for part in unit.parts if part.step.outcome]
    said = []
    if step.item_count is not None:
        failed = ended.count("failed")
        said.append(
            (f"{len(ended)} of " if len(ended) < step.item_count else "")
            + count(step.item_count, "item")
            + (f", {failed} failed" if failed else "")
        )
    if step.attempts > 1 + step.rounds:
        said.append(count(step.attempts, "attempt"))
    if step.rounds:
        said.append(count(step.rounds + 1, "round"))
    if step.tool_calls and step.kind != "tool":
        said.append(count(step.tool_calls, "call"))
    if step.refused_calls:
        said.append(f"{count(step.refused_calls, 'call')} refused")
    if step.fell_back:
        said.append("by its fallback")
    if step.reused:
        said.append(f"taken from run {step.reused}")
    if step.reason:
        said.append(
            {"when": "its condition was false", "dependency": "a step that it needs did not succeed"}.get(
                step.reason, step.reason
            )
        )
    if step.redacted:
        said.append("a secret was taken out")
    return said


def error_line(error: Json) -> str:
    """`check: 3 is not less than 2`."""
    if not isinstance(error, dict):
        return str(error)
    return f"{error.get('kind', 'error')}: {error.get('message', '')}"


def failures(units: Sequence[Unit]) -> list[Unit]:
    """The steps and items that failed, a step whose items tell it already not among them."""
    found = [unit for root in units for unit in root.walk() if unit.step.outcome == "failed"]
    telling = {id(unit) for unit in found}
    return [unit for unit in found if not any(id(part) in telling for part in unit.parts)]
