"""Progress tells what matters, once, and sends nothing to a terminal that could steer it."""

from __future__ import annotations

import io
import unicodedata

import pytest

from gptoss_flow.events import (
    Event,
    RunFinished,
    ServerChanged,
    Stamped,
    StepFinished,
    StepStarted,
    ToolFinished,
    ToolStarted,
    Warned,
)
from gptoss_flow.ui.progress import PlainProgress, shown_as
from tests.record.samples import a_run, generation, stamp


def shown(events: list[Event]) -> list[str]:
    out = io.StringIO()
    progress = PlainProgress(out)
    for stamped in stamp(events):
        progress.take(stamped)
    progress.close()
    return out.getvalue().splitlines()


def test_a_run_as_plain_lines() -> None:
    assert shown(a_run("It adds.")) == [
        "run 20260101_000000_000000_0000: summarize-repo, 3 steps",
        "step tree: succeeded, 0.5 s",
        "server main: loading: It adds.",
        "server main: ready: SmolLM2-135M, 2 slots of ? tokens, ?",
        "step each[0]: attempt 1 of 3 failed: It adds.; again in 0.5 s",
        "warning: step each[2]: It adds.",
        "step each: succeeded, 1.5 s, 3 items, 40 prompt tokens (30 reused), 6 generated",
        "step title: succeeded, 0.0 s",
        "resumed at 2026-01-01T00:00:01Z",
        "step title: round 1 was not the last",
        "step title: It adds.; its fallback runs",
        "step title: trial It adds.: 3 requests",
        "step title: 1 of 1 gate held",
        "run succeeded in 2.0 s; tokens: 10 computed, 30 reused, 6 generated; It adds.",
    ]


def test_hundreds_of_items_are_one_line_and_those_that_fail_one_each() -> None:
    error = {"kind": "model", "message": "no answer", "attempts": 1, "at": "flow.yaml:3:5"}
    items: list[Event] = []
    for n in range(300):
        items += [StepStarted(step=f"each[{n}]", kind="prompt"), generation(f"each[{n}]", "x")]
        items.append(StepFinished(step=f"each[{n}]", outcome="failed" if n == 7 else "succeeded", error=error))
    items.append(StepFinished(step="each", outcome="failed", error=error, duration_s=9.0, items=300))
    assert shown(items) == [
        "step each[7]: failed, 0.0 s: no answer (flow.yaml:3:5)",
        "step each: failed, 9.0 s, 300 items, 6000 prompt tokens (4500 reused), 900 generated:"
        " no answer (flow.yaml:3:5)",
    ]


def test_a_fan_out_says_how_many_of_its_items_come_from_an_earlier_run() -> None:
    events: list[Event] = []
    for step, reused in (("all", 2), ("some", 1)):
        items = [
            StepFinished(step=f"{step}[{n}]", outcome="succeeded", reused="r1" * (n < reused)) for n in (0, 1)
        ]
        events += [*items, StepFinished(step=step, outcome="succeeded", duration_s=0.1, items=2)]
    assert shown(events) == [
        "step all: succeeded, 0.1 s, 2 items (all reused)",
        "step some: succeeded, 0.1 s, 2 items (1 reused)",
    ]


def test_the_rate_is_that_of_decoding() -> None:
    finished = generation(
        "a", "x", timings={"decode_tps": 30.0}, usage={"prompt_tokens": 5, "completion_tokens": 60}
    )
    assert shown([finished, finished, StepFinished(step="a", outcome="succeeded", duration_s=4.0)]) == [
        "step a: succeeded, 4.0 s, 10 prompt tokens, 120 generated at 30.0/s"
    ]


@pytest.mark.parametrize(("reason", "line"), [("when", "step a: skipped (when)"), ("", "step a: skipped")])
def test_a_skipped_step_says_why(reason: str, line: str) -> None:
    assert shown([StepFinished(step="a", outcome="skipped", reason=reason)]) == [line]


def test_a_crash_and_an_end_say_their_cause() -> None:
    end = RunFinished(status="failed", exit_code=3, outputs={}, tokens={}, duration_s=1.0, error="the server died")
    crash = ServerChanged(server="main", state="crashed", detail="signal 9")
    assert shown([crash, end]) == ["server main: crashed: signal 9", "run failed in 1.0 s; the server died"]


def test_each_problem_that_ended_a_run_has_a_line_and_none_passes_for_the_runs_own() -> None:
    error = "p.yaml:1:2: no; remove it\nstep a: succeeded"
    end = RunFinished(status="failed", exit_code=2, outputs={}, tokens={}, duration_s=1.0, error=error)
    assert shown([end]) == ["run failed in 1.0 s; p.yaml:1:2: no; remove it", "  step a: succeeded"]


def test_nothing_that_a_terminal_obeys_comes_through() -> None:
    hostile = "\x1b[2J\x9b1m\x07\r\b\u202e\u2028\ud800\n\x00"
    out = io.StringIO()
    progress = PlainProgress(out)
    events = a_run(hostile)
    for stamped in stamp(events):
        progress.take(stamped)
    text = out.getvalue()
    assert {c for c in text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"} == {"\n"}
    assert text.count("\n") == len(shown(a_run("tame\ntame")))  # of an end each line counts


def test_a_reader_that_went_away_does_not_end_the_run() -> None:
    class Closed(io.StringIO):
        tries = 0

        def write(self, text: str) -> int:
            self.tries += 1
            raise BrokenPipeError

    out = Closed()
    progress = PlainProgress(out)
    for n in range(3):
        progress.take(Stamped(n, 0.0, Warned(message="x")))
    assert out.tries == 1


def test_an_item_and_all_within_it_are_shown_as_its_step() -> None:
    assert [shown_as(step) for step in ("a", "a.b", "each[3]", "each[3].a", "a.each[0]", "each[3].b[0]")] == [
        "a", "a.b", "each", "each", "a.each", "each",
    ]  # fmt: skip


def test_a_flow_within_is_told_step_by_step_and_one_in_an_item_only_where_it_fails() -> None:
    error = {"kind": "model", "message": "no answer", "attempts": 1}
    assert shown(
        [
            StepStarted(step="a", kind="flow"),
            generation("a.ask", "x"),
            StepFinished(step="a.ask", outcome="succeeded", duration_s=1.0),
            StepFinished(step="a", outcome="succeeded", duration_s=1.5),
            StepStarted(step="each", kind="flow", items=2),
            StepStarted(step="each[1]", kind="flow", values={"os": "linux", "n": 2}),
            generation("each[1].ask", "x"),
            StepFinished(step="each[0].ask", outcome="succeeded"),
            StepFinished(step="each[1].ask", outcome="failed", error=error),
            StepFinished(step="each[1]", outcome="failed", error=error),
            StepFinished(step="each[0]", outcome="succeeded"),
            StepFinished(step="each", outcome="failed", items=2, error=error),
            StepFinished(step="other", outcome="skipped", reason="not selected"),
        ]
    ) == [
        "step a.ask: succeeded, 1.0 s, 20 prompt tokens (15 reused), 3 generated",
        "step a: succeeded, 1.5 s, 20 prompt tokens (15 reused), 3 generated",
        "step each[1].ask: failed, 0.0 s: no answer",
        "step each[1] (os: linux, n: 2): failed, 0.0 s: no answer",
        "step each: failed, 0.0 s, 2 items, 20 prompt tokens (15 reused), 3 generated: no answer",
    ]


def call(step: str, number: int, **more: object) -> ToolStarted:
    given = {"arguments": {"path": "a.md"}, "permission": "granted", **more}
    return ToolStarted(step=step, call_id=f"{step}.{number}", tool="read_file", **given)  # type: ignore[arg-type]


def test_a_models_call_is_one_line_with_what_came_of_it() -> None:
    assert shown(
        [
            call("a", 1),
            call("a", 2, permission="denied"),
            call("a", 3, arguments={}, written="{" + "x" * 200),
            call("each[1]", 4),
            call("a", 5, permission=""),
            *(ToolFinished(step="a", call_id=f"a.{n}", tool="read_file", error="no\x1b[2J") for n in (2, 3)),
            ToolFinished(step="a", call_id="a.1", tool="read_file", result="four", duration_s=0.25),
            ToolFinished(step="each[1]", call_id="each[1].4", tool="read_file", result=1),
            ToolFinished(step="a", call_id="a.5", tool="read_file", result=1),
        ]
    ) == [
        r'step a: read_file {"path": "a.md"}: no\x1b[2J',
        "step a: read_file {" + "x" * 119 + r"…: no\x1b[2J",
        'step a: read_file {"path": "a.md"}: 4 characters, 0.2 s',
    ]
