"""When what happened: rows of bars over the run's time, for servers, the requests in flight there, and steps."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from gptoss_flow.ui.report.facts import number, took
from gptoss_flow.ui.report.view import Call, Report, Said, Span, Turn, Unit

MOST_LANES = 16
"""What is more at once shares the last lane."""
_PAUSE_SHARE = 0.015
"""How much of the width the time takes in which a run was not at work before it was resumed."""
_LEAST = 0.3
"""Percent of the width; what is shorter is drawn so long, to be seen."""
_STEPS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class Bar:
    """`x` and `width` in percent of the row; `lane` counts from 0."""

    x: float
    width: float
    look: str
    """A class of the style sheet."""
    title: str
    lane: int = 0
    unit: Unit | None = None
    """What a click leads to."""


@dataclass(slots=True)
class Row:
    label: str
    bars: list[Bar]
    lanes: int = 1
    depth: int = 0
    unit: Unit | None = None
    more: list[Row] = field(default_factory=list)
    """Rows that unfold below it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    servers: Sequence[Row]
    steps: Sequence[Row]
    ticks: Sequence[tuple[float, str]]
    """Percent of the width, and what is written there."""
    pauses: Sequence[float]


class Scale:
    """Seconds since 1970 to percent of the width, without the time between a run's end and its resumption."""

    def __init__(self, stretches: Sequence[Span]) -> None:
        lengths = [max(0.0, (span.end or span.start) - span.start) for span in stretches]
        self.seconds = sum(lengths) or 1e-3
        pause = self.seconds * _PAUSE_SHARE
        total = self.seconds + pause * (len(stretches) - 1)
        self._percent = 100 / total
        self._starts: list[tuple[float, float, float]] = []
        at = 0.0
        for span, length in zip(stretches, lengths, strict=True):
            self._starts.append((span.start, length, at))
            at += length + pause
        self.pauses = [self._percent * (start - pause / 2) for _, _, start in self._starts[1:]]
        self.end = max((span.end or span.start for span in stretches), default=0.0)

    def at(self, time: float) -> float:
        place = 0.0
        for start, length, begins in self._starts:
            if time < start and begins:
                break
            place = begins + min(max(0.0, time - start), length)
        return place * self._percent

    def ticks(self) -> list[tuple[float, str]]:
        """Some six round times; of a run that was resumed its time at work alone counts."""
        unit = 10.0**-3
        while not any(self.seconds / (unit * step) <= 8 for step in _STEPS):
            unit *= 10
        step = next(unit * step for step in _STEPS if self.seconds / (unit * step) <= 8)
        if step > 60:
            nice = (60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 864000, 8640000)
            step = next((each for each in nice if self.seconds / each <= 8), self.seconds)
        first = self._starts[0][0] if self._starts else 0.0
        count = int(self.seconds / step + 1e-9) if len(self._starts) == 1 else 0
        return [(self.at(first + n * step), _tick(n * step) if n else "0") for n in range(count + 1)]


def _tick(seconds: float) -> str:
    return took(seconds) if seconds >= 60 else f"{seconds:g} s" if seconds >= 1 else f"{seconds * 1000:g} ms"


def draw_timeline(report: Report) -> Timeline | None:
    """None where the record tells no times."""
    if not report.view.stretches:
        return None
    scale = Scale(report.view.stretches)
    steps = [_step(unit, scale, 0) for unit in report.units if unit.history.lives]
    return Timeline(list(_servers(report, scale)), steps, scale.ticks(), scale.pauses)


def _servers(report: Report, scale: Scale) -> Iterator[Row]:
    turns: dict[str, list[tuple[Unit, Turn]]] = {}
    for root in report.units:
        for unit in root.walk():
            for turn in unit.history.turns:
                turns.setdefault(turn.prompt.server, []).append((unit, turn))
    for server in dict.fromkeys((*report.view.servers, *turns)):
        bars = [
            _bar(scale, span.start, span.end, f"server {span.change.state}", span.change.state, span.change.detail)
            for span in report.view.servers.get(server, [])
            if span.change.state != "stopped"
        ]
        requests = turns.get(server, [])
        lanes = _lanes([turn for _, turn in requests], scale.end)
        drawn = [
            bar
            for (unit, turn), lane in zip(requests, lanes, strict=True)
            for bar in _turn(scale, unit, turn, lane)
        ]
        if bars:
            yield Row(server, bars)
        if drawn:
            yield Row("requests" if bars else f"{server}, requests", drawn, max(lanes) + 1, int(bool(bars)))


def _turn(scale: Scale, unit: Unit, turn: Turn, lane: int) -> Iterator[Bar]:
    """A request: its wait for a slot, its prefill, its decode, as far as the server told them."""
    timings = turn.answer.timings if turn.answer else {}
    end = scale.end if turn.end is None else turn.end
    latency, ttft = number(timings.get("latency_s")), number(timings.get("ttft_s"))
    queue = number(timings.get("queue_s")) or 0.0
    what = f"{unit.step.id}: request of {took(end - turn.start)}"
    if turn.answer is None:
        yield _bar(scale, turn.start, turn.end, "turn open", unit.step.id, "no answer on record", lane, unit)
        return
    sent = end - latency if latency is not None and latency <= end - turn.start + 0.5 else turn.start
    first = sent + ttft if ttft is not None and sent + ttft <= end else None
    whole = scale.at(end) - scale.at(turn.start)
    if first is None or whole < 0.3:
        yield _bar(scale, turn.start, end, "turn decode", what, "", lane, unit)
        return
    prefill = min(sent + max(0.0, queue), first)
    for start, stop, look, word in (
        (turn.start, prefill, "turn queue", "waited"),
        (prefill, first, "turn prefill", "prefill"),
        (first, end, "turn decode", "decode"),
    ):
        if scale.at(stop) - scale.at(start) > 0.02:
            yield _bar(scale, start, stop, look, what, f"{word} {took(stop - start)}", lane, unit)


def _step(unit: Unit, scale: Scale, depth: int) -> Row:
    row = Row(unit.step.id, list(_lives(unit, scale)), 1, depth, unit)
    if unit.is_fan_out and unit.parts:
        row.more = [_step(part, scale, depth + 1) for part in unit.parts]
        lives = [(part, life) for part in unit.parts for life in part.history.lives]
        lanes = _lanes([life for _, life in lives], scale.end)
        row.bars = [
            _bar(scale, life.start, life.end, f"step {_look(part, life)}", part.step.id, _took(life), lane, part)
            for (part, life), lane in zip(lives, lanes, strict=True)
        ]
        row.lanes = max(lanes, default=0) + 1
    elif unit.parts:
        row.more = [_step(part, scale, depth + 1) for part in unit.parts]
    return row


def _lives(unit: Unit, scale: Scale) -> Iterator[Bar]:
    """Each time that it ran, the attempts of it that failed, the waits between them, and its calls."""
    for life in unit.history.lives:
        yield _bar(scale, life.start, life.end, f"step {_look(unit, life)}", unit.step.id, _took(life), unit=unit)
    begun = [life.start for life in unit.history.lives]
    since = begun[0] if begun else 0.0
    for happening in unit.history.happenings:
        match happening:
            case Said(event=event) if event.type == "step_retried":
                said = f"attempt {event.attempt} failed"
                yield _bar(scale, since, happening.start, "attempt failed", unit.step.id, said, unit=unit)
                wait = number(event.delay_s) or 0.0
                since = happening.start + wait
                if wait > 0:
                    title = f"waited {took(wait)}"
                    yield _bar(scale, happening.start, since, "attempt wait", unit.step.id, title, unit=unit)
            case Call(call=call) if unit.step.kind != "tool":
                yield _bar(
                    scale, happening.start, happening.end, "call", unit.step.id, f"call of {call.tool}", unit=unit
                )
            case _:
                pass


def _look(unit: Unit, life: Span) -> str:
    """An earlier life than the last one was cut short."""
    is_last = life is unit.history.lives[-1]
    return unit.outcome if is_last else "cancelled"


def _took(life: Span) -> str:
    return "" if life.end is None else took(life.end - life.start)


def _bar(
    scale: Scale,
    start: float,
    end: float | None,
    look: str,
    title: str,
    more: str = "",
    lane: int = 0,
    unit: Unit | None = None,
) -> Bar:
    x = scale.at(start)
    stop = 100.0 if end is None else scale.at(end)
    width = max(_LEAST, stop - x)
    return Bar(min(x, 100 - width), width, look, f"{title}: {more}" if more else title, lane, unit)


def _lanes(spans: Iterable[Span], end: float) -> list[int]:
    """For each span the first lane that is free when it begins."""
    numbered = sorted(enumerate(spans), key=lambda pair: pair[1].start)
    lanes = [0] * len(numbered)
    free = list(range(MOST_LANES))
    busy: list[tuple[float, int]] = []
    for at, span in numbered:
        while busy and busy[0][0] <= span.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else MOST_LANES - 1
        lanes[at] = lane
        if lane < MOST_LANES - 1 or not any(used == lane for _, used in busy):
            heapq.heappush(busy, (end if span.end is None else span.end, lane))
    return lanes
