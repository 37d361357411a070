"""Folds a run's events into OpenTelemetry's spans, by its conventions for generative models.

The run is the root; below it are the steps, below those their items, and in either each request to a model and
each call of a tool. Times are the events' own. https://github.com/open-telemetry/semantic-conventions-genai
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.util.types import AttributeValue

from gptoss_flow.events import (
    FellBack,
    GenerationFinished,
    Json,
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
    ToolFinished,
    ToolStarted,
    Warned,
)

_INDEX = re.compile(r"\[\d+\]")
_LAST_PART = re.compile(r"(.*)[.\[]", re.DOTALL)

REQUEST: Mapping[str, type[int] | type[float]] = {
    "max_tokens": int, "temperature": float, "top_p": float, "top_k": int, "seed": int,
    "presence_penalty": float, "frequency_penalty": float,
}  # fmt: skip
"""The sampling parameters that have an attribute of their own, `gen_ai.request.NAME`, with its type."""

USAGE = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}
TOLD_ERRORS = ("timeout",)
"""Kinds of errors whose messages quote nothing that a model, a tool or a file said."""


class RunSpans:
    """A sink, for one run. What nobody ended when it is closed, is ended then.

    `content`: prompts, answers, arguments and results go along, and messages, which may quote them.
    `earlier`: how the run began, where it is resumed; the spans are those of what happens now.
    """

    def __init__(self, tracer: Tracer, *, content: bool = False, earlier: RunStarted | None = None) -> None:
        self._tracer = tracer
        self._content = content
        self._started = earlier
        self._facts: dict[str, Mapping[str, Json]] = {}
        self._root: Span | None = None
        self._steps: dict[str, Span] = {}
        self._requests: dict[str, Span] = {}
        """By the step that asks: one at a time."""
        self._calls: dict[tuple[str, str], Span] = {}
        self._last_ns = 0

    def take(self, stamped: Stamped) -> None:
        self._last_ns = round(stamped.time * 1e9)
        match event := stamped.event:
            case RunStarted() | RunResumed():
                self._begin(event)
            case ServerChanged():
                self._changed(event)
            case StepStarted():
                self._start_step(event.step, event.kind, items=event.items)
            case PromptRendered():
                self._ask(event)
            case GenerationFinished():
                self._answered(event)
            case ToolStarted():
                self._call(event)
            case ToolFinished():
                self._returned(event)
            case StepRetried() | RoundFinished() | FellBack() | Warned():
                self._note(event)
            case StepFinished():
                self._finish_step(event)
            case RunFinished():
                self._finish(event)

    def close(self) -> None:
        for span in (*self._requests.values(), *self._calls.values(), *reversed(self._steps.values())):
            span.end(self._last_ns)
        if self._root is not None:
            self._root.end(self._last_ns)
        self._requests, self._calls, self._steps, self._root = {}, {}, {}, None

    # --- the run and its steps --------------------------------------------------------------------------------

    def _begin(self, event: RunStarted | RunResumed) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        run = self._started
        name = run.flow if run else ""
        said: dict[str, Json] = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": name,
            "gptoss_flow.resumed": isinstance(event, RunResumed),
        }
        if run is not None:
            said |= {
                "gptoss_flow.run.id": run.run_id,
                "gptoss_flow.flow.path": run.flow_path,
                "vcs.ref.head.revision": run.repo_sha,
                "vcs.ref.head.name": run.branch,
            }
        self._root = self._span(f"invoke_workflow {name}", None, said)

    def _start_step(self, step: str, kind: str = "", *, items: int | None = None) -> Span:
        span = self._steps.get(step)
        if span is None:
            said = {"gptoss_flow.step.id": step, "gptoss_flow.step.kind": kind, "gptoss_flow.step.items": items}
            what = "item" if step.endswith("]") else "step"
            span = self._steps[step] = self._span(f"{what} {_INDEX.sub('', step)}", self._around(step), said)
        return span

    def _finish_step(self, event: StepFinished) -> None:
        # One that was skipped, or whose result was known, never started.
        span = self._start_step(event.step)
        self._cut_off(event.step, event.error or {"kind": event.outcome})
        said = {"outcome": event.outcome, "reason": event.reason, "reused": event.reused}
        _set(span, {f"gptoss_flow.step.{name}": value for name, value in said.items()})
        if event.outcome == "failed":
            self._failed(span, event.error or {})
        span.end(self._last_ns)
        del self._steps[event.step]

    def _cut_off(self, step: str, error: Mapping[str, Json]) -> None:
        """What a step still waits for when an attempt ends: that is what it failed of."""
        left = [self._calls.pop(key) for key in [*self._calls] if key[0] == step]
        left += [self._requests.pop(step)] if step in self._requests else []
        for span in left:
            self._failed(span, error)
            span.end(self._last_ns)

    def _finish(self, event: RunFinished) -> None:
        if self._root is None:
            return
        said: dict[str, Json] = {"status": event.status, "exit_code": event.exit_code}
        said |= {f"tokens.{name}": count for name, count in event.tokens.items()}
        _set(self._root, {f"gptoss_flow.run.{name}": value for name, value in said.items()})
        if event.status != "succeeded":
            self._failed(self._root, {"kind": event.status, "message": event.error})
        self.close()

    def _note(self, event: StepRetried | RoundFinished | FellBack | Warned) -> None:
        said: dict[str, Json] = {}
        match event:
            case StepRetried():
                said = {"attempt": event.attempt, "error.type": event.error.get("kind"), "delay_s": event.delay_s}
                self._cut_off(event.step, event.error)
            case RoundFinished():
                said = {"round": event.round, "delay_s": event.delay_s}
            case FellBack():
                said = {"kind": event.kind, "error.type": event.error.get("kind")}
                self._cut_off(event.step, event.error)
            case Warned():
                said = {"message": event.message if self._content else None}
        around = self._steps.get(event.step, self._around(event.step))
        self._happened(around, f"gptoss_flow.{event.type}", said)

    # --- servers, requests, calls -----------------------------------------------------------------------------

    def _changed(self, event: ServerChanged) -> None:
        if event.facts:
            self._facts[event.server] = event.facts
        facts = {
            name: event.facts.get(name) for name in ("model", "engine", "build", "slots", "ready_s", "adopted")
        }
        said = {"server": event.server, "state": event.state, "detail": event.detail, **facts}
        self._happened(self._root, f"gptoss_flow.server.{event.state}", said)

    def _ask(self, event: PromptRendered) -> None:
        facts = self._facts.get(event.server, {})
        profile = self._started.servers.get(event.server) if self._started else None
        model, operation = (
            facts.get("model") or profile or "",
            "text_completion" if event.mode == "raw" else "chat",
        )
        at = urlsplit(str(facts.get("url", "")))
        said: dict[str, Json] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": _provider(facts),
            "gen_ai.system": _provider(facts),
            "gen_ai.request.model": model,
            "gen_ai.request.stream": True,
            "gen_ai.request.reasoning.level": event.reasoning,
            "gen_ai.request.stop_sequences": event.params.get("stop") or None,
            "gen_ai.output.type": "text",
            "server.address": at.hostname,
            "server.port": at.port,
            "gptoss_flow.step.id": event.step,
            "gptoss_flow.attempt": event.attempt,
            "gptoss_flow.server": event.server,
        }
        for name, kind in REQUEST.items():
            value = event.params.get(name)
            said[f"gen_ai.request.{name}"] = kind(value) if isinstance(value, int | float) else None
        if self._content:
            said["gen_ai.input.messages"] = json.dumps([_message(each) for each in event.messages])
            tools = [{"type": "function", **tool} for tool in event.tools]
            said["gen_ai.tool.definitions"] = json.dumps(tools) if tools else None
        around = self._steps.get(event.step, self._around(event.step))
        self._requests[event.step] = self._span(f"{operation} {model}", around, said, SpanKind.CLIENT)

    def _answered(self, event: GenerationFinished) -> None:
        span = self._requests.pop(event.step, None)
        if span is None:
            return
        said: dict[str, Json] = {
            "gen_ai.response.finish_reasons": [_finish_reason(event)],
            "gen_ai.response.time_to_first_chunk": event.timings.get("ttft_s"),
            **{attribute: event.usage.get(name) for name, attribute in USAGE.items()},
            **{
                f"gptoss_flow.{name}": event.timings.get(name) for name in ("queue_s", "prefill_tps", "decode_tps")
            },
        }
        if self._content:
            said["gen_ai.output.messages"] = json.dumps([_answer(event)])
        _set(span, said)
        span.end(self._last_ns)

    def _call(self, event: ToolStarted) -> None:
        said: dict[str, Json] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.tool,
            "gen_ai.tool.call.id": event.call_id,
            "gen_ai.tool.type": "function",
            "gptoss_flow.step.id": event.step,
            "gptoss_flow.tool.permission": event.permission,
        }
        if self._content:
            said["gen_ai.tool.call.arguments"] = event.written or json.dumps(event.arguments)
        around = self._steps.get(event.step, self._around(event.step))
        self._calls[event.step, event.call_id] = self._span(f"execute_tool {event.tool}", around, said)

    def _returned(self, event: ToolFinished) -> None:
        span = self._calls.pop((event.step, event.call_id), None)
        if span is None:
            return
        if event.error is not None:
            self._failed(span, {"kind": "tool", "message": event.error})
        elif self._content:
            _set(span, {"gen_ai.tool.call.result": json.dumps(event.result)})
        span.end(self._last_ns)

    # --- spans ------------------------------------------------------------------------------------------------

    def _around(self, step: str) -> Span | None:
        """What a step is within: its fan-out, the step whose flow it is in, or the run."""
        while match := _LAST_PART.match(step):
            step = match[1]
            if step in self._steps:
                return self._steps[step]
        return self._root

    def _span(
        self, name: str, around: Span | None, said: Mapping[str, Json], kind: SpanKind = SpanKind.INTERNAL
    ) -> Span:
        context = None if around is None else set_span_in_context(around)
        attributes = dict(_attributes(said))
        return self._tracer.start_span(
            _text(name), context, kind=kind, attributes=attributes, start_time=self._last_ns,
            record_exception=False, set_status_on_exception=False,
        )  # fmt: skip

    def _happened(self, span: Span | None, name: str, said: Mapping[str, Json]) -> None:
        if span is not None:
            span.add_event(name, dict(_attributes(said)), self._last_ns)

    def _failed(self, span: Span, error: Mapping[str, Json]) -> None:
        kind = str(error.get("kind") or "_OTHER")
        message = error.get("message") if self._content or kind in TOLD_ERRORS else error.get("at")
        _set(span, {"error.type": kind})
        span.set_status(Status(StatusCode.ERROR, _text(str(message or kind))))


def _provider(facts: Mapping[str, Json]) -> str:
    """Without a server, a script answers."""
    return ("llama.cpp" if facts.get("api", "llama.cpp") == "llama.cpp" else "openai") if facts else "scripted"


def _message(message: Mapping[str, Json]) -> Json:
    if message["role"] == "tool":
        answered = {"type": "tool_call_response", "id": message.get("tool_call_id")}
        return {"role": "tool", "parts": [{**answered, "response": message["content"]}]}
    parts = [{"type": "text", "content": message["content"]}]
    return {"role": message["role"], "parts": [*parts, *map(_called, message.get("tool_calls", []))]}


def _called(call: Mapping[str, Json]) -> Json:
    return {"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["arguments"]}


def _answer(event: GenerationFinished) -> Json:
    parts = [{"type": "reasoning", "content": event.reasoning}] if event.reasoning else []
    parts.append({"type": "text", "content": event.text})
    return {
        "role": "assistant",
        "parts": [*parts, *map(_called, event.calls)],
        "finish_reason": _finish_reason(event),
    }


def _finish_reason(event: GenerationFinished) -> str:
    return "tool_call" if event.calls else event.finish_reason


def _set(span: Span, said: Mapping[str, Json]) -> None:
    span.set_attributes(dict(_attributes(said)))


def _attributes(said: Mapping[str, Json]) -> Iterator[tuple[str, AttributeValue]]:
    """What there is to tell, in types that OpenTelemetry has."""
    for name, value in said.items():
        if isinstance(value, str) and value:
            yield name, _text(value)
        elif isinstance(value, bool | int | float):
            yield name, value
        elif isinstance(value, list) and value:
            yield name, [_text(str(each)) for each in value]


def _text(text: str) -> str:
    """Without what no UTF-8 can hold: one such letter would cost a whole batch."""
    return text.encode("utf-8", "replace").decode()
