"""Events for the tests of the record: one run as it may happen, and strategies for every type of event."""

from __future__ import annotations

import types
import typing
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from gptoss_flow.events import (
    BenchJudged,
    Event,
    FellBack,
    GenerationFinished,
    PromptRendered,
    RoundFinished,
    RunFinished,
    RunResumed,
    RunStarted,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    TextCut,
    TokensArrived,
    ToolFinished,
    ToolStarted,
    TrialFinished,
    Warned,
)

RECORDED: tuple[type[Any], ...] = tuple(cls for cls in get_args(Event) if cls is not TokensArrived)
START = 1767225600.0


def stamp(events: list[Event], start: float = START, apart_s: float = 0.001) -> list[Stamped]:
    return [Stamped(n, round(start + n * apart_s, 6), event) for n, event in enumerate(events, start=1)]


def run_started(**changes: Any) -> RunStarted:
    given: dict[str, Any] = {
        "run_id": "20260101_000000_000000_0000",
        "flow": "summarize-repo",
        "flow_path": "flows/summarize-repo.yaml",
        "description": "Summarise a source tree.",
        "started_at": "2026-01-01T00:00:00Z",
        "version": "0.1.0",
        "inputs": {"path": "."},
        "steps": {"tree": "tool", "each": "prompt", "title": "set"},
        "servers": {"main": "local"},
        "cwd": "/home/ada/project",
        "workspace": "/home/ada/project",
        "repo_sha": "7112981e0",
        "branch": "main",
        "dirty": True,
    }
    return RunStarted(**{**given, **changes})


def generation(step: str, text: str, **changes: Any) -> GenerationFinished:
    given: dict[str, Any] = {
        "step": step,
        "attempt": 1,
        "text": text,
        "reasoning": "",
        "tokens": [11, 12, 13],
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 20, "cached_tokens": 15, "completion_tokens": 3, "reasoning_tokens": 0},
        "timings": {"ttft_s": 0.1, "latency_s": 0.25},
    }
    return GenerationFinished(**{**given, **changes})


def a_run(text: str = "It adds numbers.") -> list[Event]:
    """A run in which everything happens: a tool, a fan-out with a retry and a skipped item, a computed value."""
    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    asked = PromptRendered(
        step="each[0]", attempt=1, server="main", mode="chat", messages=messages, tokens=[1, 2], params={"seed": 1}
    )
    error = {"kind": "server", "message": text, "attempts": 1}
    return [
        run_started(description=text),
        StepStarted(step="tree", kind="tool"),
        ToolStarted(step="tree", call_id="tree.1", tool="repo_files", arguments={"root": text}),
        ToolFinished(step="tree", call_id="tree.1", tool="repo_files", result={"files": [text]}, duration_s=0.5),
        StepFinished(step="tree", outcome="succeeded", output={"files": [text]}, duration_s=0.5),
        ServerChanged(server="main", state="loading", detail=text),
        ServerChanged(server="main", state="ready", facts={"model": "SmolLM2-135M", "slots": 2}),
        StepStarted(step="each", kind="prompt", items=3),
        StepStarted(step="each[0]", kind="prompt"),
        asked,
        StepStarted(step="each[2]", kind="prompt"),
        StepRetried(step="each[0]", attempt=1, attempts=3, error=error, delay_s=0.5),
        generation("each[2]", "third", finish_reason="length"),
        Warned(step="each[2]", message=text),
        StepFinished(step="each[2]", outcome="succeeded", output="third", fields={"text": "third"}),
        StepFinished(step="each[1]", outcome="skipped", reason="when"),
        generation("each[0]", text, attempt=2, reasoning=text),
        StepFinished(step="each[0]", outcome="succeeded", output=text, fields={"text": text}),
        StepFinished(step="each", outcome="succeeded", items=3, duration_s=1.5),
        StepStarted(step="title", kind="set"),
        StepFinished(step="title", outcome="succeeded", output={"name": text}, fields={"name": text}),
        RunResumed(version="0.1.0", resumed_at="2026-01-01T00:00:01Z", redo=["title"]),
        TextCut(step="title", server="main", text_sha256="0" * 64, limit=10, chars=40),
        RoundFinished(step="title", round=1, output=text, delay_s=0.0),
        FellBack(step="title", kind="set", error=error),
        TrialFinished(step="title", attempt=1, number=0, trial={"label": text, "n": 3, "metrics": {"ttft": {}}}),
        BenchJudged(step="title", trials=[{"label": text}], verdicts=[{"ok": True, "said": text}]),
        RunFinished(
            status="succeeded",
            exit_code=0,
            outputs={"summary": text},
            tokens={"computed": 10, "reused": 30, "generated": 6},
            duration_s=2.0,
            error=text,
        ),
    ]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([_values(part) for part in arguments])
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(_values(arguments[0]), max_size=4)
    if origin is dict:
        return st.dictionaries(st.text(), _values(arguments[1]), max_size=4)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        Any: json_values,
        str: st.text(st.characters()),
        int: st.integers(),
        bool: st.booleans(),
        float: st.floats(allow_nan=False, allow_infinity=False),
        types.NoneType: st.none(),
    }
    return simple[hint]


def events_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any event of a class, each field by its annotation."""
    hints = get_type_hints(cls)
    return st.builds(cls, **{f.name: _values(hints[f.name]) for f in fields(cls)})


any_event = st.one_of([events_of(cls) for cls in RECORDED])
