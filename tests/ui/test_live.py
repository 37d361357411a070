"""On a terminal the answer streams, what runs is one line each, and the terminal is left as it was."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from rich.console import Console

from gptoss_flow.events import (
    Channel,
    Event,
    Json,
    RunFinished,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TokensArrived,
    ToolFinished,
    ToolStarted,
)
from gptoss_flow.testing.clock import START, ManualClock
from gptoss_flow.ui.live import RichProgress
from tests.record.samples import a_run, generation, stamp

CSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A terminal of a size, and the progress that writes to it."""

    def __init__(
        self, answer_step: str | None = None, width: int = 80, height: int = 24, *, outputs_follow: bool = False
    ) -> None:
        self.out = io.StringIO()
        console = Console(file=self.out, force_terminal=True, width=width, height=height, color_system="standard")
        self.clock = ManualClock()
        self.progress = RichProgress(
            answer_step,
            outputs_follow=outputs_follow,
            console=console,
            now=lambda: self.clock.now().timestamp(),
        )

    def see(self, *events: Event) -> None:
        for stamped in stamp(list(events), START.timestamp(), 0.0):
            self.progress.take(stamped)

    def frame(self) -> list[str]:
        """The living part as it would be drawn now."""
        width = self.progress._console.width
        console = Console(file=io.StringIO(), width=width, height=24)
        console.print(self.progress._draw())
        drawn = console.file
        assert isinstance(drawn, io.StringIO)
        return [line.rstrip() for line in drawn.getvalue().splitlines()]

    def finish(self) -> str:
        """Close it: all that scrolled by, without control sequences."""
        self.progress.close()
        return CSI.sub("", self.out.getvalue())


def scrolled(terminal: Terminal) -> str:
    """What is left on the screen: without what was drawn only to be wiped away."""
    kept: list[str] = []
    for piece in re.split(r"(\x1b\[2K(?:\x1b\[1A\x1b\[2K)*|\n)", terminal.out.getvalue()):
        wiped = piece.count("\x1b[1A")
        del kept[len(kept) - 2 * wiped :]
        kept.append("" if "\x1b[2K" in piece else piece)
    return CSI.sub("", "".join(kept))


@pytest.fixture
def terminal() -> Terminal:
    return Terminal("summary")


def piece(step: str, text: str, channel: Channel = "final", tokens: int = 1) -> TokensArrived:
    return TokensArrived(step=step, channel=channel, text=text, tokens=tokens)


def test_a_running_step_shows_its_time_tokens_and_rate(terminal: Terminal) -> None:
    terminal.see(StepStarted(step="draft", kind="prompt"), piece("draft", "x", tokens=1))
    terminal.clock.advance(2)
    terminal.see(piece("draft", "y", tokens=9))
    assert terminal.frame()[0].endswith("draft  2 s  10 tokens  5.0/s")
    terminal.see(StepFinished(step="draft", outcome="succeeded", duration_s=2.0))
    assert terminal.frame() in ([], [""])
    assert "step draft: succeeded, 2.0 s" in terminal.finish()


def test_hundreds_of_items_are_one_line(terminal: Terminal) -> None:
    terminal.see(StepStarted(step="each", kind="prompt", items=200))
    for n in range(40):
        terminal.see(StepStarted(step=f"each[{n}]", kind="prompt"), piece(f"each[{n}]", "x"))
    for n in range(12):
        terminal.see(StepFinished(step=f"each[{n}]", outcome="succeeded"))
    (line,) = terminal.frame()
    assert line.endswith("each  12/200  0 s  40 tokens")
    terminal.finish()


def test_flows_within_items_are_one_line_too_and_a_flow_of_its_own_shows_its_steps(terminal: Terminal) -> None:
    terminal.see(StepStarted(step="each", kind="flow", items=3))
    for n in range(3):
        terminal.see(StepStarted(step=f"each[{n}]", kind="flow"))
        terminal.see(StepStarted(step=f"each[{n}].ask", kind="prompt"))
        terminal.see(piece(f"each[{n}].ask", "x"), StepFinished(step=f"each[{n}].ask", outcome="succeeded"))
    terminal.see(StepFinished(step="each[0]", outcome="succeeded"), StepStarted(step="a", kind="flow"))
    terminal.see(StepStarted(step="a.ask", kind="prompt"))
    lines = [line.lstrip("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ") for line in terminal.frame()]
    assert lines == ["each  1/3  0 s  3 tokens", "a  0 s", "a.ask  0 s"]
    terminal.finish()


def test_more_running_steps_than_rows_are_counted(terminal: Terminal) -> None:
    terminal.see(*(StepStarted(step=f"s{n}", kind="tool") for n in range(20)))
    assert len(terminal.frame()) == 9
    assert terminal.frame()[-1] == "  and 12 more"
    terminal.finish()


def test_the_answer_of_the_last_prompt_streams_and_no_other(terminal: Terminal) -> None:
    terminal.see(StepStarted(step="summary", kind="prompt"), piece("summary", "think", "analysis"))
    terminal.see(piece("other", "not shown\n"), piece("summary", "One li"), piece("summary", "ne.\nAnd a"))
    assert terminal.frame()[0] == "And a"
    terminal.see(piece("summary", "nother."), generation("summary", "One line.\nAnd another."))
    text = terminal.finish()
    assert text.count("One line.") == 1
    assert text.count("And another.") == 1
    assert "not shown" not in text
    assert "think" not in text


ANSWER = "One line.\nAnd another."


def finished(**outputs: Json) -> RunFinished:
    return RunFinished(status="succeeded", exit_code=0, outputs=outputs, tokens={}, duration_s=1.0)


@pytest.mark.parametrize(
    ("outputs", "times"),
    [({"text": ANSWER}, 0), ({"a": {"b": ["x", "One line."]}}, 1), ({"n": 2}, 1), ({}, 1)],
)
def test_an_answer_scrolls_by_only_where_the_outputs_will_not_show_it(
    outputs: dict[str, Json], times: int
) -> None:
    terminal = Terminal("summary", outputs_follow=True)
    terminal.see(StepStarted(step="summary", kind="prompt"), piece("summary", ANSWER + "\n"))
    terminal.see(generation("summary", ANSWER + "\n"))
    assert terminal.frame()[:2] == ANSWER.split("\n")
    terminal.see(finished(**outputs))
    assert terminal.frame() in ([], [""])
    terminal.progress.close()
    assert scrolled(terminal).count("And another.") == times


@pytest.mark.parametrize(
    ("answer", "output", "times"),
    [
        ('{\n  "a": [1, true]\n}', {"a": [1, True]}, 0),
        ('{\n  "a": [1, true]\n}', {"a": [1, False]}, 1),
        ("4", "chapter 4.", 0),
        ("4", 14, 1),
        ("[" * 5000, "none", 1),
    ],
)
def test_an_answer_is_known_in_an_output_however_that_is_written(answer: str, output: Json, times: int) -> None:
    terminal = Terminal("summary", outputs_follow=True)
    terminal.see(piece("summary", answer), generation("summary", answer), finished(x=output))
    terminal.progress.close()
    assert [line.rstrip() for line in scrolled(terminal).splitlines()].count(answer.split("\n")[-1]) == times


def test_what_is_no_answer_yet_scrolls_by_though_outputs_follow() -> None:
    terminal = Terminal("summary", outputs_follow=True)
    retried = StepRetried(step="summary", attempt=1, attempts=2, error={"message": "gone"}, delay_s=0.0)
    terminal.see(piece("summary", "first try"), retried, piece("summary", "round one"))
    terminal.see(generation("summary", "round one"), piece("summary", "round two, cut"))
    terminal.progress.close()
    text = scrolled(terminal)
    assert [text.count(said) for said in ("first try", "round one", "round two, cut")] == [1, 1, 1]


def test_of_a_long_answer_the_end_is_in_view() -> None:
    terminal = Terminal("summary", height=8, outputs_follow=True)
    terminal.see(StepStarted(step="summary", kind="prompt"))
    terminal.see(piece("summary", "\n".join(f"line {number}" for number in range(100))))
    shown = terminal.frame()
    assert len(shown) <= 8 and "line 99" in shown and "line 0" not in shown
    terminal.finish()


def test_a_long_line_is_not_broken_by_us_on_a_narrow_terminal() -> None:
    terminal = Terminal("summary", width=20)
    terminal.see(StepStarted(step="summary", kind="prompt"), piece("summary", "word " * 30 + "\n"))
    assert all(len(line) <= 20 for line in terminal.frame())
    assert "word " * 29 + "word" in terminal.finish()


@pytest.mark.parametrize("width", [1, 5, 20])
def test_a_narrow_terminal_is_no_error(width: int) -> None:
    terminal = Terminal("title", width=width)
    terminal.see(*a_run("a long text with spaces and \n newlines"))
    terminal.see(StepStarted(step="a_very_long_name_of_a_step", kind="prompt"), piece("title", "x" * 500))
    assert all(len(line) <= width for line in terminal.frame())
    terminal.finish()


def test_nothing_that_a_terminal_obeys_comes_through() -> None:
    terminal = Terminal("each[0]")
    hostile = "\x1b]0;title\x07[red]\x9b2J\r\b\u202e\ud800\x00"
    terminal.see(*a_run(hostile)[:-1], piece("each[0]", hostile), StepStarted(step=hostile, kind="set"))
    frame, text = terminal.frame(), terminal.finish()
    for seen in ("\n".join(frame), text):
        assert {c for c in seen if unicodedata.category(c)[0] == "C"} <= {"\n", "\r"}
    assert "[red]" in text, "markup of others is text"


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    def colours() -> list[str]:
        terminal = Terminal()
        terminal.see(StepFinished(step="a", outcome="failed", error={"message": "no"}))
        terminal.finish()
        return re.findall(r"\x1b\[3\dm", terminal.out.getvalue())

    assert colours()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours()


def test_a_run_that_never_began_leaves_the_terminal_alone() -> None:
    terminal = Terminal()
    terminal.progress.close()
    assert terminal.out.getvalue() == ""


def test_the_cursor_is_given_back() -> None:
    terminal = Terminal()
    terminal.see(*a_run()[:5])
    terminal.progress.close()
    terminal.progress.close()
    text = terminal.out.getvalue()
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l") >= 0


def test_a_retried_answer_starts_on_its_own_line(terminal: Terminal) -> None:
    retried = a_run()[11]
    event = type(retried)(step="summary", attempt=1, attempts=2, error={"message": "gone"}, delay_s=0.0)
    terminal.see(piece("summary", "half"), event, piece("summary", "whole\n"))
    assert "halfwhole" not in terminal.finish()


def test_pieces_are_stamped_with_no_number_and_still_seen(terminal: Terminal) -> None:
    terminal.progress.take(Stamped(0, START.timestamp(), piece("summary", "seen\n")))
    assert "seen" in terminal.finish()


def test_panes_are_a_line_each_the_most_urgent_first(terminal: Terminal) -> None:
    def shown(number: int, name: str, **more: object) -> None:
        call = {"step": "s", "call_id": str(number), "tool": "ui_pane"}
        terminal.see(ToolStarted(**call, arguments={"action": "create"}))  # type: ignore[arg-type]
        terminal.see(ToolFinished(**call, result={"pane": {"id": name, **more}}))  # type: ignore[arg-type]

    shown(1, "a", title="Build\x1b[31m\nx", content="first\nlast \x9b line\n")
    shown(2, "b", priority="critical", attention="look", frame="kranox", state="minimized", content="hidden")
    assert terminal.frame() == [
        "◤◢ b (critical, minimized) ! look",
        "══ Build\\x1b[31m\\nx  last \\x9b line",
    ]
    shown(3, "a", state="closed")
    for number in range(4):
        shown(10 + number, f"more{number}")
    assert len(terminal.frame()) == 5
    assert terminal.frame()[-1] == "  and 1 more pane"
    terminal.see(*a_run("end")[-1:])
    assert not any("more" in line for line in terminal.frame())
    terminal.finish()
