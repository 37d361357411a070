"""Runs for the tests of reports, made of events as a journal would hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from gptoss_flow.app.report import make_report
from gptoss_flow.app.runs import Run
from gptoss_flow.events import (
    Event,
    FellBack,
    GenerationFinished,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    ToolFinished,
    ToolStarted,
    Warned,
)
from gptoss_flow.record.journal_file import JournalDamage
from gptoss_flow.ui.report.view import Report, fold_view
from tests.record.samples import run_started, stamp

FOLDER = Path("/runs/20260101_000000_000000_0000")

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<svg/onload=alert(2)><img src=x onerror=alert(3)>",
    "' onmouseover=alert(4) x='\" autofocus onfocus=alert(5) \"",
    "javascript:alert(6) <a href=javascript:alert(7)>x</a>",
    "</pre></details></style><style>*{display:none}</style><base href=//evil.example><!--",
    "<meta http-equiv=refresh content='0;url=//evil.example'><iframe src=//evil.example></iframe>",
    "\x1b[31mred\x1b]0;title\x07 \x9b5m\x00\r bell\x07\x7f",
    "\u202egnp.exe\u202c \u2066iso\u2069 zero\u200bwidth\ufeff\u00ad \u2028line\u2029 \U000e0041tag",
    "half \ud83d of a pair \udc00, \ufffe \uffff",
    "{{ 7*7 }} ${{ x }} {% raw %} {# c #}",
    "]]> --> &lt;script&gt; &amp;amp; `=cmd|' /C calc'!A0` @ada | x | [x](//evil.example)\n| a |\n# h",
    "Z" + "\u0351\u036b\u0343\u036a" * 60,
)
"""What a model, a tool, a file or a server may say."""


def turn(step: str, text: str, *, attempt: int = 1, server: str = "main", **changes: Any) -> list[Event]:
    """A prompt and its answer."""
    messages = changes.pop("messages", [{"role": "user", "content": f"Say something of {step}."}])
    given: dict[str, Any] = {
        "reasoning": "",
        "tokens": [1, 2],
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 30, "cached_tokens": 10, "completion_tokens": 8, "reasoning_tokens": 0},
        "timings": {
            "ttft_s": 0.002,
            "latency_s": 0.004,
            "queue_s": 0.001,
            "prefill_tps": 400.0,
            "decode_tps": 80.0,
        },
    }
    return [
        PromptRendered(
            step=step, attempt=attempt, server=server, mode="chat", messages=messages, tokens=[1], params={}
        ),
        GenerationFinished(step=step, attempt=attempt, text=text, **{**given, **changes}),
    ]


def done(step: str, output: Any = None, **changes: Any) -> StepFinished:
    return StepFinished(step=step, output=output, **{"outcome": "succeeded", "duration_s": 0.5, **changes})


def ordinary() -> list[Event]:
    """A tool, a fan-out with retry and failure, a flow within, a repeat, a fallback, one skipped and one final."""
    error = {"kind": "model", "message": "the answer is empty", "attempts": 2, "at": "flows/a.yaml:7:3"}
    kinds = {"tree": "tool", "each": "prompt", "sub": "flow", "polish": "prompt", "risky": "prompt", "more": "set"}
    return [
        run_started(
            steps={**kinds, "tidy": "set"},
            needs={"each": ["tree"], "sub": ["each"], "polish": ["tree"], "risky": [], "more": ["each", "risky"]},
            final=["tidy"],
        ),
        ServerChanged(server="main", state="starting", detail="model small.gguf"),
        StepStarted(step="tree", kind="tool"),
        ToolStarted(
            step="tree", call_id="tree.1", tool="list_files", arguments={"pattern": "*.py"}, effect="pure"
        ),
        ToolFinished(step="tree", call_id="tree.1", tool="list_files", result=["a.py", "b.py"], duration_s=0.01),
        done("tree", ["a.py", "b.py"]),
        ServerChanged(server="main", state="ready", facts={"model": "small", "slots": 2, "ready_s": 1.5}),
        StepStarted(step="each", kind="prompt", items=2),
        StepStarted(step="each[0]", kind="prompt", values={"key": "a.py"}),
        StepStarted(step="each[1]", kind="prompt"),
        *turn("each[0]", "It is fine.", reasoning="Let me look at the callers."),
        done("each[0]", "It is fine."),
        turn("each[1]", "")[0],
        StepRetried(step="each[1]", attempt=1, attempts=2, error=error, delay_s=0.001),
        turn("each[1]", "", attempt=2)[0],
        done("each[1]", None, outcome="failed", error=error),
        done("each", items=2),
        StepStarted(step="sub", kind="flow"),
        StepStarted(step="sub.one", kind="set"),
        done("sub.one", {"x": 1}),
        done("sub", {"all": 1}),
        StepStarted(step="polish", kind="prompt"),
        *turn("polish", "not yet"),
        RoundFinished(step="polish", round=1, output="not yet", delay_s=0.0),
        *turn("polish", "good", attempt=2),
        done("polish", "good"),
        StepStarted(step="risky", kind="prompt"),
        FellBack(step="risky", kind="set", error=error),
        Warned(step="risky", message="a word of warning"),
        done("risky", {"x": 2}),
        done("more", outcome="skipped", reason="when", duration_s=0.0),
        StepStarted(step="tidy", kind="set"),
        done("tidy", {"status": "succeeded"}),
        ServerChanged(server="main", state="stopped"),
        RunFinished(
            status="succeeded",
            exit_code=0,
            outputs={"said": "good"},
            tokens={"computed": 60, "reused": 30, "generated": 24},
            duration_s=2.5,
        ),
    ]


def hostile() -> list[Event]:
    """Every text of it is hostile, ids of steps too; one answer is a megabyte long, one is a single line."""
    events: list[Event] = []
    kinds = dict.fromkeys(HOSTILE, "prompt")
    first, *others = HOSTILE
    error = {"kind": first, "message": "\n".join(HOSTILE), "at": first}
    events.append(
        run_started(
            flow=HOSTILE[1],
            run_id=first,
            flow_path=first,
            description="\n".join(HOSTILE),
            branch=first,
            version=first,
            inputs={text: text for text in HOSTILE},
            servers={text: text for text in HOSTILE},
            steps={**kinds, "big": "prompt", "line": "prompt"},
            needs={text: [first] for text in others},
        )
    )
    events += [Warned(message=text) for text in HOSTILE]
    for text in HOSTILE:
        facts = {"model": text, "engine": text, text: text}
        events.append(ServerChanged(server=text, state="crashed", detail=text, facts=facts))
        events.append(StepStarted(step=text, kind=text, values={text: text}))
        messages = [{"role": text, "content": text, text: text}]
        events += turn(text, text, server=text, messages=messages, reasoning=text, finish_reason=text)
        events.append(ToolStarted(step=text, call_id=text, tool=text, arguments={text: text}, effect=text))
        events.append(ToolFinished(step=text, call_id=text, tool=text, result={text: text}))
        pane = {"id": f"p{len(events)}", "title": text, "content": text, "attention": text, "width": 700}
        events += [replace(event, step=text) for event in pane_call(len(events), text, pane)]
        events.append(StepRetried(step=text, attempt=1, attempts=2, error=error, delay_s=0.0))
        events.append(done(text, {text: text}, outcome="failed", error=error, reason=text, reused=text))
    lines = "".join(f"{n}: <b onclick=alert(8)>\u202e line {'x' * 40}\n" for n in range(15_000))
    events += [StepStarted(step="big", kind="prompt"), *turn("big", lines), done("big", lines)]
    single = "<script>\x1b" * 110_000
    events += [StepStarted(step="line", kind="prompt"), *turn("line", single), done("line", single)]
    outputs = {text: text for text in HOSTILE}
    events.append(
        RunFinished(
            status="failed", exit_code=1, outputs=outputs, tokens={}, duration_s=1.0, error=error["message"]
        )
    )
    return events


def thousand() -> list[Event]:
    """A fan-out of a thousand items."""
    system = {"role": "system", "content": "Answer in one word. " * 30}
    events: list[Event] = [
        run_started(steps={"each": "prompt"}),
        StepStarted(step="each", kind="prompt", items=1000),
    ]
    for n in range(1000):
        step = f"each[{n}]"
        messages = [system, {"role": "user", "content": f"What is {n} times two?"}]
        failed = {"outcome": "failed", "error": {"kind": "model", "message": "lost"}} if n % 100 == 77 else {}
        events += [StepStarted(step=step, kind="prompt"), *turn(step, f"It is {2 * n}.", messages=messages)]
        events.append(done(step, f"It is {2 * n}.", **failed))
    return [*events, done("each", items=1000)]


def resumed() -> list[Stamped]:
    """Its process was killed within a step, and a day later it went on."""
    before = stamp([run_started(), StepStarted(step="tree", kind="tool"), turn("title", "x")[0]])
    after = stamp(
        [
            RunResumed(version="0.1.0", resumed_at="2026-01-02T00:00:00Z"),
            StepStarted(step="tree", kind="tool"),
            done("tree", []),
        ],
        start=before[-1].time + 86_400,
    )
    return before + after


def report_of(events: Sequence[Event] | Sequence[Stamped], *, is_running: bool = False) -> Report:
    stamped = [each if isinstance(each, Stamped) else None for each in events]
    told = [each for each in stamped if each] or stamp(
        [e for e in events if not isinstance(e, Stamped)], apart_s=0.01
    )
    view = fold_view(told)
    return make_report(Run(FOLDER, view.state, JournalDamage(), is_running), view)


def pane_call(number: int, action: str, pane: dict[str, Any]) -> list[ToolStarted | ToolFinished]:
    call: dict[str, Any] = {"step": "show", "call_id": f"show.{number}", "tool": "ui_pane"}
    return [
        ToolStarted(**call, arguments={"action": action, **pane}, effect="idempotent"),
        ToolFinished(**call, result={"pane": pane}),
    ]


def with_panes() -> list[Event]:
    """Two panes; the first is moved, with an animation."""
    return [
        run_started(steps={"show": "tool"}, needs={"show": []}),
        StepStarted(step="show", kind="tool"),
        *pane_call(1, "create", {"id": "a", "title": "A", "content": "text"}),
        *pane_call(2, "create", {"id": "b", "title": "B", "priority": "critical", "glow": True, "content": "b"}),
        *pane_call(3, "move", {"id": "a", "title": "A", "x": 300, "y": 40, "animation": "shake"}),
        done("show"),
    ]
