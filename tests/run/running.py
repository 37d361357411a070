"""A run of a flow given as text, with real steps and a scripted model, and what is to be seen of it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import ExitCode
from gptoss_flow.events import Stamped, StepFinished, StepStarted, TokensArrived
from gptoss_flow.lang.load import load_flow
from gptoss_flow.plan.compile import compile_flow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Tool, ToolContext
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.context import render
from gptoss_flow.run.ends import RunResult
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.testing.event_log import EventLog
from gptoss_flow.testing.scripted_model import Script, ScriptedModels
from gptoss_flow.tools import TOOLS

STEPS = "version: 1\nsteps:\n"


def compiled(text: str, files: Mapping[str, str] | None = None, tools: Mapping[str, Tool] | None = None) -> Plan:
    """The plan of a flow, beside which these other files lie; `tools` in place of the built-in ones."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"flow.yaml": text, **(files or {})}.items():
            Path(folder, name).write_text(content, encoding="utf-8")
        if tools is not None:
            return compile_flow(load_flow(Path(folder, "flow.yaml"), Path.cwd()), tools)
        return check_flow(Path(folder, "flow.yaml"))


class Run:
    """A run of a flow. `when` is called with each event as it happens."""

    def __init__(
        self,
        text: str,
        replies: Mapping[str, Any] | None = None,
        *,
        files: Mapping[str, str] | None = None,
        when: Callable[[Run, Any], None] | None = None,
        models: Any = None,
        tools: Mapping[str, Tool] | None = None,
        **more: Any,
    ) -> None:
        self.log = EventLog()
        clock = SystemClock()
        self.when = when
        self.journal = Journal([self.log, self], clock)
        self.plan = compiled(text, files, tools)
        self.models = models or ScriptedModels(Script.model_validate(replies or {"default": "fine"}), clock)
        scope: dict[str, Any] = {"inputs": {"n": 3}, "vars": {}, "env": {}, "run": {"id": "r"}}
        for name, values in self.plan.vars:
            scope["vars"] = {**scope["vars"], name: render(self.plan, values, scope)}
        self.executor = Executor(
            self.plan,
            scope=scope,
            models=self.models,
            tools=TOOLS if tools is None else tools,
            tool_context=ToolContext(workspace=Path.cwd()),
            emit=self.journal.emit,
            clock=clock,
            cores=2,
            **more,
        )

    def take(self, stamped: Stamped) -> None:
        if self.when is not None:
            self.when(self, stamped.event)

    def close(self) -> None:
        pass

    def go(self) -> RunResult:
        return asyncio.run(self.executor.run(self.models.close))

    def ends(self) -> dict[str, str]:
        """Unit to outcome, in the order of their ends. Each has one, unless it began again."""
        found: dict[str, str] = {}
        starts: dict[str, int] = {}
        for event in self.log.events:
            if isinstance(event, StepStarted):
                starts[event.step] = starts.get(event.step, 0) + 1
            elif isinstance(event, StepFinished):
                assert event.step not in found or starts[event.step] > 1, f"{event.step} ended twice"
                found[event.step] = event.outcome
        return found

    def end(self, step: str) -> StepFinished:
        return [event for event in self.log.of(StepFinished) if event.step == step][-1]


def interrupt_at(*steps: str) -> Callable[[Run, Any], None]:
    """Ctrl-C when each of these steps has begun to answer or ended, in this order."""
    left = list(steps)

    def when(run: Run, event: Any) -> None:
        if left and isinstance(event, TokensArrived | StepFinished) and event.step == left[0]:
            left.pop(0)
            assert run.executor.interrupt(ExitCode.INTERRUPTED)

    return when
