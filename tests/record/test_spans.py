"""What a run's events become as spans: who is within whom, when, and what each says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from gptoss_flow.events import (
    Event,
    FellBack,
    GenerationFinished,
    PromptRendered,
    RunFinished,
    RunResumed,
    RunStarted,
    ServerChanged,
    Stamped,
    StepFinished,
    StepRetried,
    StepStarted,
    ToolFinished,
    ToolStarted,
    Warned,
)
from gptoss_flow.record.spans import RunSpans

START = 1_900_000_000.0
BEGIN = RunStarted(
    run_id="r1", flow="sea", flow_path="sea.yaml", description="", started_at="", version="0", inputs={},
    steps={"a": "prompt"}, servers={"main": "warm"}, cwd="/", workspace="/", repo_sha="abc", branch="b",
    dirty=False,
)  # fmt: skip
READY = ServerChanged(
    server="main", state="ready", facts={"url": "http://127.0.0.1:8123", "model": "gpt-oss-20b", "slots": 4}
)
SECRET = "a private word"


def asked(step: str, attempt: int = 1, mode: Any = "chat", **params: Any) -> PromptRendered:
    messages = [{"role": "user", "content": SECRET}]
    return PromptRendered(
        step=step, attempt=attempt, server="main", mode=mode, messages=messages, tokens=[1], params=params
    )


def answered(step: str, attempt: int = 1) -> GenerationFinished:
    usage = {"prompt_tokens": 9, "cached_tokens": 4, "completion_tokens": 3, "reasoning_tokens": 1}
    timings = {"ttft_s": 0.25, "decode_tps": 50.0}
    return GenerationFinished(
        step=step, attempt=attempt, text=SECRET, reasoning=f"hm, {SECRET}", tokens=[7], finish_reason="stop",
        usage=usage, timings=timings,
    )  # fmt: skip


def ended(step: str, **more: Any) -> StepFinished:
    return StepFinished(step=step, **{"outcome": "succeeded", **more})


def finished(status: Any = "succeeded", error: str = "") -> RunFinished:
    return RunFinished(
        status=status, exit_code=0, outputs={}, tokens={"generated": 3}, duration_s=1.0, error=error
    )


def spans_of(
    events: Sequence[Event], *, content: bool = False, earlier: RunStarted | None = None
) -> dict[str, ReadableSpan]:
    """The spans by name of events that are a second apart from each other."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sink = RunSpans(provider.get_tracer("test"), content=content, earlier=earlier)
    for number, event in enumerate(events):
        sink.take(Stamped(number + 1, START + number, event))
    sink.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert len(spans) == len(exporter.get_finished_spans())
    return spans


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def seconds(span: ReadableSpan) -> tuple[float, float]:
    """Of its start and end, from the run's start."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.start_time / 1e9 - START, span.end_time / 1e9 - START)


def above(spans: dict[str, ReadableSpan], name: str) -> str | None:
    parent = spans[name].parent
    return parent and next(name for name, span in spans.items() if span.context.span_id == parent.span_id)


def test_a_request_is_a_client_span_with_the_conventions_attributes_and_the_events_times() -> None:
    spans = spans_of(
        [BEGIN, READY, StepStarted(step="a", kind="prompt"), asked("a", temperature=0, max_tokens=8, stop=["x"]),
         answered("a"), ended("a"), finished()]
    )  # fmt: skip
    request = spans["chat gpt-oss-20b"]
    assert request.kind is SpanKind.CLIENT
    assert seconds(request) == (3, 4)
    assert said(request) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llama.cpp",
        "gen_ai.system": "llama.cpp",
        "gen_ai.request.model": "gpt-oss-20b",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.output.type": "text",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "server.address": "127.0.0.1",
        "server.port": 8123,
        "gptoss_flow.step.id": "a",
        "gptoss_flow.attempt": 1,
        "gptoss_flow.server": "main",
        "gptoss_flow.decode_tps": 50.0,
    }
    assert above(spans, "chat gpt-oss-20b") == "step a"
    assert above(spans, "step a") == "invoke_workflow sea"
    assert seconds(spans["invoke_workflow sea"]) == (0, 6)
    assert [event.name for event in spans["invoke_workflow sea"].events] == ["gptoss_flow.server.ready"]
    assert said(spans["invoke_workflow sea"])["gptoss_flow.run.tokens.generated"] == 3


def test_items_are_within_their_step_and_inner_flows_within_the_step_that_runs_them() -> None:
    starts = [StepStarted(step=step, kind="x", items=1 if step == "each" else None) for step in
              ("each", "each[0]", "each[0].inner", "call", "call.b")]  # fmt: skip
    spans = spans_of([BEGIN, *starts, finished()])
    assert {name: above(spans, name) for name in spans if name != "invoke_workflow sea"} == {
        "step each": "invoke_workflow sea",
        "item each": "step each",
        "step each.inner": "item each",
        "step call": "invoke_workflow sea",
        "step call.b": "step call",
    }


def test_a_tools_call_has_its_name_and_id_and_its_failure_a_status() -> None:
    call = {"step": "a", "call_id": "c1", "tool": "read_file"}
    events = [
        BEGIN, StepStarted(step="a", kind="tool"), ToolStarted(**call, arguments={"path": SECRET}),
        ToolFinished(**call, error=f"no file {SECRET}"),
        ended("a", outcome="failed", error={"kind": "tool", "message": SECRET}), finished("failed", SECRET),
    ]  # fmt: skip
    spans = spans_of(events)
    tool = spans["execute_tool read_file"]
    assert said(tool)["gen_ai.tool.name"] == "read_file"
    assert said(tool)["gen_ai.tool.call.id"] == "c1"
    assert said(tool)["error.type"] == said(spans["step a"])["error.type"] == "tool"
    assert {span.status.is_ok for span in spans.values()} == {False}
    assert above(spans, "execute_tool read_file") == "step a"
    assert SECRET in str(spans_of(events, content=True)["execute_tool read_file"].status.description)


def test_an_attempt_that_failed_while_it_generated_ends_with_its_error() -> None:
    late = {"kind": "timeout", "message": "took longer than 2 s"}
    spans = spans_of(
        [BEGIN, StepStarted(step="a", kind="prompt"), asked("a", 1, "raw"),
         StepRetried(step="a", attempt=1, attempts=2, error=late, delay_s=0.5), asked("a", 2), answered("a", 2),
         ended("a"), finished()]
    )  # fmt: skip
    failed = spans["text_completion warm"]
    assert (said(failed)["error.type"], failed.status.description) == ("timeout", "took longer than 2 s")
    assert seconds(failed) == (2, 3)
    assert said(spans["chat warm"])["gptoss_flow.attempt"] == 2
    assert spans["chat warm"].status.is_ok
    assert [event.name for event in spans["step a"].events] == ["gptoss_flow.step_retried"]


def test_what_a_killed_run_left_open_is_ended_with_its_step() -> None:
    spans = spans_of(
        [
            BEGIN,
            StepStarted(step="a", kind="prompt"),
            asked("a"),
            ended("a", outcome="cancelled"),
            finished("cancelled"),
        ]
    )
    assert said(spans["chat warm"])["error.type"] == "cancelled"
    assert seconds(spans["chat warm"]) == (2, 3)


def test_a_fallback_and_a_skipped_step_are_told() -> None:
    spans = spans_of(
        [BEGIN, StepStarted(step="a", kind="prompt"), asked("a"),
         FellBack(step="a", kind="set", error={"kind": "model", "message": SECRET}), ended("a"),
         ended("b", outcome="skipped", reason="when"), finished()]
    )  # fmt: skip
    assert said(spans["chat warm"])["error.type"] == "model"
    assert [event.name for event in spans["step a"].events] == ["gptoss_flow.fell_back"]
    assert said(spans["step b"])["gptoss_flow.step.reason"] == "when"
    assert seconds(spans["step b"]) == (5, 5)


EVERYTHING = [
    BEGIN,
    StepStarted(step="a", kind="prompt"),
    asked("a"),
    answered("a"),
    ToolStarted(step="a", call_id="c", tool="t", arguments={"x": SECRET}),
    ToolFinished(step="a", call_id="c", tool="t", result=SECRET),
    Warned(message=SECRET, step="a"),
    StepRetried(step="a", attempt=1, attempts=2, error={"kind": "schema", "message": SECRET}, delay_s=0),
    ended("a", outcome="failed", output=SECRET, error={"kind": "check", "message": SECRET, "at": "f.yaml:3:1"}),
    finished("failed", SECRET),
]


def test_no_content_leaves_unless_it_is_asked_for() -> None:
    told = "".join(span.to_json() for span in spans_of(EVERYTHING).values())
    assert SECRET not in told
    assert "f.yaml:3:1" in told


def test_content_is_in_the_conventions_form() -> None:
    spans = spans_of(EVERYTHING, content=True)
    request = said(spans["chat warm"])
    assert json.loads(request["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": SECRET}]}
    ]
    assert json.loads(request["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "reasoning", "content": f"hm, {SECRET}"}, {"type": "text", "content": SECRET}],
            "finish_reason": "stop",
        }
    ]
    tool = said(spans["execute_tool t"])
    assert json.loads(tool["gen_ai.tool.call.arguments"]) == {"x": SECRET}
    assert json.loads(tool["gen_ai.tool.call.result"]) == SECRET


def test_a_conversation_with_tools_is_in_the_conventions_form() -> None:
    calls: list[Any] = [{"id": "c", "name": "t", "arguments": "{}"}]
    told = {"role": "tool", "content": SECRET, "tool_call_id": "c", "name": "t"}
    messages = [{"role": "assistant", "content": "", "tool_calls": calls}, told]
    tools = [{"name": "t", "description": "Does.", "parameters": {"type": "object"}}]
    events: list[Event] = [
        BEGIN,
        StepStarted(step="a", kind="prompt"),
        replace(asked("a"), messages=messages, tools=tools),
        replace(answered("a"), calls=calls),
        ToolStarted(step="a", call_id="a.1.1.1", tool="t", arguments={}, permission="denied"),
        ToolFinished(step="a", call_id="a.1.1.1", tool="t", error=SECRET),
        ended("a"),
        finished(),
    ]
    spans = spans_of(events, content=True)
    request, call = said(spans["chat warm"]), said(spans["execute_tool t"])
    assert json.loads(request["gen_ai.input.messages"])[0]["parts"][1:] == [{"type": "tool_call", **calls[0]}]
    assert json.loads(request["gen_ai.input.messages"])[1] == {
        "role": "tool",
        "parts": [{"type": "tool_call_response", "id": "c", "response": SECRET}],
    }
    assert json.loads(request["gen_ai.output.messages"])[0]["finish_reason"] == "tool_call"
    assert request["gen_ai.response.finish_reasons"] == ("tool_call",)
    assert json.loads(request["gen_ai.tool.definitions"]) == [{"type": "function", **tools[0]}]
    assert call["gptoss_flow.tool.permission"] == "denied"
    assert SECRET not in "".join(span.to_json() for span in spans_of(events).values())


def test_a_resumed_run_is_named_after_the_one_that_it_goes_on_with() -> None:
    spans = spans_of([RunResumed(version="0", resumed_at=""), ended("a"), finished()], earlier=BEGIN)
    root = said(spans["invoke_workflow sea"])
    assert (root["gptoss_flow.run.id"], root["gptoss_flow.resumed"]) == ("r1", True)


def test_a_run_whose_record_broke_off_ends_its_spans() -> None:
    assert set(spans_of([BEGIN, StepStarted(step="a", kind="prompt")])) == {"invoke_workflow sea", "step a"}
