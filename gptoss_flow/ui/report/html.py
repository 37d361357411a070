"""The report as one HTML file: a page that loads nothing, runs one known script, and takes no text for markup."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from gptoss_flow.escape import for_terminal
from gptoss_flow.events import NOT_MADE, Json
from gptoss_flow.fields import json_text
from gptoss_flow.ui.bench import measured
from gptoss_flow.ui.report import facts
from gptoss_flow.ui.report.bench import draw_bench, happenings
from gptoss_flow.ui.report.graph import draw_graph
from gptoss_flow.ui.report.json_form import indented, readable
from gptoss_flow.ui.report.panes import draw_panes
from gptoss_flow.ui.report.shown_text import LONG, Shown, chunks, marked, preview
from gptoss_flow.ui.report.timeline import draw_timeline
from gptoss_flow.ui.report.view import Call, Report, Said, Turn, Unit, warnings_of_run

_PAGE = Path(__file__).parent / "page"
_OPEN_AT_MOST = 6
"""A run of so few steps and items is shown unfolded."""
_PARTS_OPEN_AT_MOST = 30
_SAME_FROM = 400
"""Characters from which on a text that was shown before is not shown again."""


def draw_html(report: Report) -> str:
    """The whole page. Every text of the run passes `finalize` and Jinja's escaping on its way into it."""
    style, script = ((_PAGE / name).read_text("utf-8") for name in ("style.css", "script.js"))
    page = _Page(report)
    drawn = (
        _environment()
        .get_template("report.html.j2")
        .render(
            page=page,
            report=report,
            style=Markup(style),
            script=Markup(script),
            policy=(
                f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
                "base-uri 'none'; form-action 'none'"
            ),
            graph=draw_graph(report),
            screen=draw_panes(report.view.screen),
            timeline=draw_timeline(report),
            warnings=warnings_of_run(report.view),
        )
    )
    return drawn.lstrip()


def _hash(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_PAGE),
        autoescape=True,
        finalize=_safe,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        took=facts.took,
        rate=facts.rate,
        moment=facts.moment,
        thousands=facts.thousands,
        percent=lambda value: f"{value:.3f}".rstrip("0").rstrip("."),
        marked=marked,
        chunks=chunks,
        preview=preview,
        json=indented,
        remarks=facts.remarks,
        error_line=facts.error_line,
        bench=draw_bench,
        happenings=happenings,
    )
    environment.globals.update(MARKS=facts.MARKS, LONG=LONG, NOT_MADE=NOT_MADE)
    environment.tests.update(turn=_is(Turn), call=_is(Call), said=_is(Said))
    return environment


def _safe(value: Any) -> Any:
    return value if isinstance(value, Markup) else for_terminal(str(value))


def _is(cls: type) -> Any:
    return lambda value: isinstance(value, cls)


@dataclass(frozen=True, slots=True)
class _TableRow:
    unit: Unit
    depth: int
    tokens: Any
    speeds: facts.Speeds


class _Page:
    """What the template asks: anchors of steps, rows of the table, which texts stand elsewhere already."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._anchors = {
            id(unit): f"step-{number}"
            for number, unit in enumerate((unit for root in report.units for unit in root.walk()), start=1)
        }
        self._seen: dict[str, str] = {}
        self.unfolds = len(self._anchors) <= _OPEN_AT_MOST
        self.rows = [row for unit in report.units for row in _rows(unit, 0)]
        self.speeds = facts.speeds(turn for unit in report.units for turn in unit.turns)
        self.most_tokens = max((_sum(row.tokens) for row in self.rows), default=0) or 1
        self.counts = self._count()

    def anchor(self, unit: Unit) -> str:
        return self._anchors[id(unit)]

    def _count(self) -> Mapping[str, int]:
        """How many steps and items ended how, a fan-out not counted beside its items."""
        counted: dict[str, int] = {}
        for root in self._report.units:
            for unit in root.walk():
                if unit.is_fan_out and unit.parts:
                    continue
                counted[unit.outcome] = counted.get(unit.outcome, 0) + 1
        return counted

    def show(self, value: Json, anchor: str = "") -> Shown:
        """A text, or where it stands already; another value as lines. `anchor`: what it can be found by."""
        text = readable(value)
        if len(text) >= _SAME_FROM and anchor:
            before = self._seen.setdefault(text, anchor)
            if before != anchor:
                return Shown(text, is_json=not isinstance(value, str), same_as=before)
        return Shown(text, is_json=not isinstance(value, str))

    @staticmethod
    def messages(unit: Unit, turn: Turn) -> tuple[int, Sequence[Mapping[str, Json]]]:
        """How many messages are those of the turn before, and the others."""
        turns = unit.history.turns
        at = next(place for place, each in enumerate(turns) if each is turn)
        asked = [message for message in turn.prompt.messages if isinstance(message, dict)]
        before = turns[at - 1].prompt.messages if at else []
        same = len(before) if before and asked[: len(before)] == before else 0
        if not same or turn.prompt.turn == 1:
            return same, asked[same:]
        # What the model called and was told stands with its calls.
        told = [message for message in asked[same:] if message.get("role") in ("assistant", "tool")]
        return same + len(told), [message for message in asked[same:] if message not in told]

    @staticmethod
    def output_is_told(unit: Unit) -> bool:
        """Whether the output is the last answer, or the result of the only call, once more."""
        output = unit.step.output
        if output is None or unit.is_fan_out or measured(unit.step) is not None:
            return True
        for happening in reversed(unit.history.happenings):
            if isinstance(happening, Turn):
                return happening.answer is not None and happening.answer.text == output
            if isinstance(happening, Call):
                return happening.result is not None and happening.result.result == output
        return False

    @staticmethod
    def opens(unit: Unit) -> bool:
        """A failure is to be seen at once, if it is not one of a thousand."""
        return len(unit.parts) <= _PARTS_OPEN_AT_MOST and any(
            part.step.outcome == "failed" for part in unit.walk()
        )

    @staticmethod
    def values(values: Mapping[str, Json]) -> str:
        return ", ".join(f"{name}: {json_text(value)}" for name, value in values.items())

    @staticmethod
    def names(tools: Sequence[Mapping[str, Json]]) -> str:
        return ", ".join(str(tool.get("name")) for tool in tools)

    def servers(self) -> Iterator[tuple[str, str, Any, str]]:
        """Each server with its profile, its state, and what is known of it."""
        profiles = self._report.started.servers if self._report.started else {}
        states = self._report.view.state.servers
        for name in dict.fromkeys((*profiles, *states)):
            yield name, profiles.get(name, ""), states.get(name), self._cause(name)

    def _cause(self, name: str) -> str:
        """The last thing that was said of it before it ran, or when it crashed."""
        spans = self._report.view.servers.get(name, [])
        crashes = [span.change.detail for span in spans if span.change.state == "crashed" and span.change.detail]
        return crashes[-1] if crashes else ""


def _rows(unit: Unit, depth: int) -> Iterator[_TableRow]:
    yield _TableRow(unit, depth, unit.tokens, facts.speeds(unit.turns))
    if not unit.is_fan_out:
        for part in unit.parts:
            yield from _rows(part, depth + 1)


def _sum(tokens: Any) -> int:
    return int(tokens.computed + tokens.reused + tokens.generated)
