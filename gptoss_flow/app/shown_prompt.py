"""The prompt that a step would send: the flow is walked with what is on record, and no model is asked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gptoss_flow.app.bind import BoundFlow
from gptoss_flow.app.known import Finished
from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.app.tools import FlowTools
from gptoss_flow.errors import FlowError, StepError, Unavailable
from gptoss_flow.events import Outcome, StepFinished
from gptoss_flow.plan.plan import Node
from gptoss_flow.plan.selection import only
from gptoss_flow.ports import (
    Generation,
    Message,
    Model,
    OnText,
    PromptRequest,
    RenderedPrompt,
    ToolContext,
    continued,
)
from gptoss_flow.prompt import harmony
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.run.known import Key, Reused
from gptoss_flow.server.model import Machine
from gptoss_flow.testing.event_log import EventLog

NOT_RUN = "not run"
HARMONY_MODELS = ("gpt-oss", "gptoss")
"""The architectures whose vocabulary is Harmony's."""


@dataclass(frozen=True, slots=True)
class ShownPrompt:
    """What a unit would send. `exact`: the model reads just `text`; else the server's template goes around it."""

    unit: str
    mode: str
    text: str
    exact: bool


@dataclass
class _Showing:
    """`run.known.Known` that lets nothing run but the step that is shown, and what costs and touches nothing."""

    wanted: str
    finished: Mapping[str, Finished]

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        if node.inner is not None or _is_of(unit_id, self.wanted):
            return None
        if known := self.finished.get(unit_id):
            return Reused(known.outcome, known.run_id)
        return None if node.step.runs_on == "loop" else Reused(Outcome("skipped", reason=NOT_RUN), "")

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        pass


@dataclass
class _Listener:
    """`ports.Models` and each `ports.Model` of it: they hear a request and say nothing to it."""

    speaks_harmony: Mapping[str, bool]
    wanted: str
    found: dict[str, ShownPrompt] = field(default_factory=dict)

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(servers, 1)

    def identity(self, server: str) -> Mapping[str, str]:
        return {}

    async def get(self, server: str) -> Model:
        return _ListeningModel(self, self.speaks_harmony.get(server, False))

    async def release(self, server: str) -> None:
        pass

    async def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class _ListeningModel:
    listener: _Listener
    speaks_harmony: bool

    async def render(self, request: PromptRequest) -> RenderedPrompt:
        if _is_of(request.step, self.listener.wanted):
            self.listener.found.setdefault(request.step, _shown(request, self.speaks_harmony))
        return RenderedPrompt(mode="raw", messages=request.messages, tokens=(), params={}, request=request)

    async def generate(self, prompt: RenderedPrompt, on_text: OnText) -> Generation:
        return Generation(text="", tokens=(), finish_reason="stop", usage={}, timings={})

    async def extend(self, prompt: RenderedPrompt, answer: Generation, turns: Sequence[Message]) -> RenderedPrompt:
        return await self.render(continued(prompt, answer, turns))

    async def count_tokens(self, text: str) -> int:
        return len(self._encoding().encode(text))

    async def truncate(self, text: str, tokens: int) -> str:
        encoding = self._encoding()
        ids = encoding.encode(text)
        if len(ids) <= tokens:
            return text
        return b"".join(map(encoding.spell, ids[:tokens])).decode("utf-8", "ignore")

    def _encoding(self) -> harmony.Harmony:
        if not self.speaks_harmony:
            said = "truncate_tokens cuts by the tokenizer of a server, and none is started for this"
            raise StepError("server", f"{said}; run the step, then see it with gptoss-flow show", retryable=False)
        return harmony.preload().result()


async def show_prompt(bound: BoundFlow, step: str, finished: Mapping[str, Finished]) -> list[ShownPrompt]:
    """The prompts of a step (`each`, all of its items; `each[3]`; `outer.inner`), by unit.

    `finished` are units of a run on record: what prompts and tools gave. Raises `FlowError` where what the prompt
    needs is not among them, or the step sends none.
    """
    log, clock = EventLog(), SystemClock()
    journal = Journal([log], clock)
    listener = _Listener({name: await _speaks_harmony(bound, name) for name in bound.plan.servers}, step)
    root = step.partition("[")[0].partition(".")[0]
    executor = Executor(
        bound.plan,
        scope=bound.scope,
        models=listener,
        tools=FlowTools().of(bound.plan),
        inner_tools=FlowTools().of,
        tool_context=ToolContext(workspace=bound.workspace, readable=bound.readable),
        emit=journal.emit,
        clock=clock,
        cores=1,
        known=_Showing(step, finished),
        environ=os.environ,
        select=only(bound.plan, [root]),
    )
    result = await executor.run(listener.close)
    if result.bug is not None:
        raise result.bug
    if not listener.found:
        raise FlowError(_why_none(step, log))
    return list(listener.found.values())


def _why_none(step: str, log: EventLog) -> str:
    for event in log.of(StepFinished):
        if event.outcome == "skipped" and event.reason == NOT_RUN:
            return (
                f"the prompt of {step} needs the result of {event.step}; run the flow once, or give --against RUN"
            )
        if event.outcome == "failed" and event.error:
            return f"step {event.step}: {event.error['message']}"
    return f"step {step} sends no prompt"


def _is_of(unit_id: str, wanted: str) -> bool:
    """Whether a unit is the wanted one, or an item of it."""
    return unit_id == wanted or (unit_id.startswith(f"{wanted}[") and "." not in unit_id[len(wanted) :])


def _shown(request: PromptRequest, speaks_harmony: bool) -> ShownPrompt:
    mode = request.mode if request.mode != "auto" else "harmony" if speaks_harmony else "chat"
    if mode == "raw":
        return ShownPrompt(request.step, mode, "".join(message.content for message in request.messages), True)
    if mode == "harmony":
        encoding = harmony.preload().result()
        tokens = encoding.render(request)
        return ShownPrompt(request.step, mode, encoding.text(tokens), True)
    said = "\n\n".join(f"{message.role}:\n{message.content}" for message in request.messages)
    return ShownPrompt(request.step, mode, said, False)


async def _speaks_harmony(bound: BoundFlow, server: str) -> bool:
    """Whether the server's model is one that speaks Harmony, as far as the files on this machine tell."""
    resolved = bound.profiles[server]
    if resolved.profile.resolved_engine == "external":
        return False
    try:
        _, model = await choose_model_file(resolved, Machine.here(), lambda line: None, offline=True, to_run=False)
    except Unavailable:
        return False
    return model.architecture in HARMONY_MODELS
