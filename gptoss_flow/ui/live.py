"""What a run shows on a terminal: finished things scroll by, below them lives what runs now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.events import (
    GenerationFinished,
    RunFinished,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TokensArrived,
    ToolFinished,
    ToolStarted,
)
from gptoss_flow.tools.ui_pane.panes import Pane, in_order
from gptoss_flow.ui.panes import Screen
from gptoss_flow.ui.progress import Narrator, shown_as
from gptoss_flow.ui.streamed import StreamedAnswer
from gptoss_flow.words import count

ROWS = 8
"""The most running steps that are shown at once."""
PANES = 4
"""The most panes that are shown at once."""
REFRESHES_S = 8


@dataclass(slots=True)
class _Running:
    name: str
    since: float
    items: int | None = None
    done: int = 0
    tokens: int = 0
    first_token: float | None = None

    def text(self, now: float) -> Text:
        parts = [one_line(self.name)]
        if self.items is not None:
            parts.append(f"{self.done}/{self.items}")
        parts.append(f"{max(0.0, now - self.since):.0f} s")
        if self.tokens:
            parts.append(f"{self.tokens} tokens")
            if self.first_token is not None and now > self.first_token:
                parts.append(f"{self.tokens / (now - self.first_token):.1f}/s")
        return Text("  ".join(parts), no_wrap=True, overflow="ellipsis")


class RichProgress:
    """The sink for a terminal on standard error. `last_prompt` is the step whose answer is shown as it arrives.

    rich keeps to NO_COLOR and to the terminal's width. Its refresh thread only reads: it draws from copies.
    The cursor is hidden from the first event to `close`. Falls silent when the terminal is gone.
    """

    def __init__(
        self,
        last_prompt: str | None = None,
        *,
        outputs_follow: bool = False,
        console: Console | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` tells the time in the seconds that events are stamped with.

        `outputs_follow`: they are printed on the same terminal when the run has ended.
        """
        self._console = console or Console(stderr=True)
        self._now = now
        self._last_prompt = last_prompt
        self._narrator = Narrator()
        self._running: dict[str, _Running] = {}
        self._screen = Screen()
        self._answer = StreamedAnswer(is_repeated=outputs_follow)
        self._gone = False
        self._held: list[Stamped] | None = None
        """What has happened while it keeps still; None: it does not."""
        self._spinner = Spinner("dots")
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=REFRESHES_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Keep still meanwhile: somebody else writes here. What happens is shown afterwards."""
        self._held = []
        with suppress(OSError):
            self._live.stop()
        try:
            yield
        finally:
            held, self._held = self._held, None
            for stamped in held:
                self.take(stamped)

    def take(self, stamped: Stamped) -> None:
        if self._held is not None:
            self._held.append(stamped)
        elif not self._gone:
            try:
                self._show(stamped)
            except OSError:
                self._gone = True

    def _show(self, stamped: Stamped) -> None:
        if not self._live.is_started:
            self._live.start(refresh=True)
        event = stamped.event
        match event:
            case StepStarted():
                if shown_as(event.step) == event.step:
                    row = _Running(event.step, stamped.time, event.items)
                    self._running = {**self._running, event.step: row}
            case TokensArrived():
                self._arrived(event, stamped.time)
            case GenerationFinished(calls=[]) if event.step == self._last_prompt:
                self._scroll(self._answer.ended())
            case GenerationFinished() | StepRetried() if event.step == self._last_prompt:
                self._scroll(self._answer.let_go())
            case StepFinished():
                self._ended(event)
            case ToolStarted() | ToolFinished():
                self._screen.apply(event, stamped.time)
            case RunFinished():
                self._scroll(self._answer.outputs_follow(event.outputs))
                self._running = {}
                self._screen = Screen()
            case _:
                pass
        for line in self._narrator.lines(stamped):
            self._say(Text(line, style=_style(stamped)))

    def close(self) -> None:
        with suppress(OSError):
            self._scroll(self._answer.let_go())
            self._live.stop()

    def _arrived(self, event: TokensArrived, now: float) -> None:
        if row := self._running.get(shown_as(event.step)):
            row.tokens += event.tokens
            row.first_token = row.first_token or now
        if event.step == self._last_prompt and event.channel == "final":
            self._scroll(self._answer.arrived(event.text))

    def _scroll(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._say(Text(for_terminal(line, keep="\t")))

    def _ended(self, event: StepFinished) -> None:
        if event.step in self._running:
            self._running = {name: row for name, row in self._running.items() if name != event.step}
        elif (row := self._running.get(shown_as(event.step))) and _is_item(event.step, row.name):
            row.done += 1

    def _say(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)

    def _draw(self) -> RenderableType:
        now, rows = self._now(), list(self._running.values())
        drawn: list[RenderableType] = []
        for row in rows[:ROWS]:
            line = Table.grid(padding=(0, 1))
            line.add_row(self._spinner, row.text(now))
            drawn.append(line)
        if len(rows) > ROWS:
            drawn.append(Text(f"  and {len(rows) - ROWS} more"))
        panes = [pane for pane in reversed(in_order(self._screen.panes)) if pane.state != "closed"]
        drawn += map(_pane, panes[:PANES])
        if len(panes) > PANES:
            drawn.append(Text(f"  and {count(len(panes) - PANES, 'more pane')}"))
        return Group(*self._in_view(self._console.height - len(drawn) - 1), *drawn)

    def _in_view(self, most: int) -> list[Text]:
        """The last lines of the answer that there is room for."""
        text = Text(for_terminal(self._answer.in_view))
        return [*text.wrap(self._console, self._console.width)][-max(1, most) :] if text else []


def _is_item(step: str, fan_out: str) -> bool:
    """Whether this is an item, not one of the steps within it."""
    return step.startswith(f"{fan_out}[") and step.endswith("]") and step.count("[") == 1


_MARKS = {"corners": "⌜⌟", "lines": "══", "octagon": "⬡ ", "underline": "▁▁", "nefrex": "◸◿", "kranox": "◤◢"}
_COLORS = {"background": "dim", "normal": "", "elevated": "cyan", "urgent": "yellow", "critical": "bold red"}


def _pane(pane: Pane) -> Text:
    """A pane in a line: its frame, its title, what it wants, the beginning of its text."""
    text = Text(f"{_MARKS[pane.frame]} {one_line(pane.title or pane.id)}", no_wrap=True, overflow="ellipsis")
    text.stylize(_COLORS[pane.priority] + (" reverse" if pane.focused else ""), 3)
    said = [pane.priority] * (pane.priority != "normal") + ["minimized"] * (pane.state == "minimized")
    text.append(f" ({', '.join(said)})" if said else "")
    if pane.attention is not None:
        text.append(f" ! {one_line(pane.attention)}".rstrip(), "bold red")
    if pane.state == "open" and pane.content.strip():
        text.append("  " + one_line(pane.content.strip().splitlines()[-1]), "dim")
    return text


def _style(stamped: Stamped) -> str:
    match stamped.event:
        case (
            StepFinished(outcome="failed")
            | RunFinished(status="failed" | "limited")
            | ServerChanged(state="crashed")
        ):
            return "red"
        case StepFinished(outcome="succeeded") | RunFinished(status="succeeded"):
            return "green"
        case StepFinished() | ServerChanged():
            return "dim"
        case _:
            return ""
