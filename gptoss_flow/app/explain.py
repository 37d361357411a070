"""Says of each step whether it would run again, and why: the run is walked with nothing but what is on record."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import platformdirs

from gptoss_flow.app.bind import SCRIPTED, BoundFlow
from gptoss_flow.app.known import Finished, finished_units
from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.app.replay_tools import RecordedServers
from gptoss_flow.app.tools import FlowTools
from gptoss_flow.errors import FlowError, Problem, Unavailable
from gptoss_flow.events import Outcome, StepFinished
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.ports import Model, ToolContext
from gptoss_flow.record.state import RunState
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.run.key import changed_parts
from gptoss_flow.run.known import Key, Reused
from gptoss_flow.server.engines import find_engine
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.model import Machine
from gptoss_flow.server.starter import result_identity, served_identity
from gptoss_flow.testing.event_log import EventLog
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script

Verdict = Literal["run", "reuse", "skip"]
WOULD_RUN = "would run"


@dataclass(frozen=True, slots=True)
class Explained:
    """What would become of a unit, and why; `changed` are the parts of its key that are not what they were."""

    unit: str
    verdict: Verdict
    why: str
    changed: tuple[str, ...] = ()


@dataclass
class _Explaining:
    """`run.known.Known` that lets nothing run: what is not on record is passed over, and noted."""

    finished: Mapping[str, Finished]
    recorded: RunState
    found: dict[str, Explained] = field(default_factory=dict)

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        if node.inner is not None:
            return None  # the steps within are asked for one by one
        explained = self.found[unit_id] = self._explain(unit_id, node, key)
        if explained.verdict == "reuse":
            return Reused(self.finished[unit_id].outcome, self.finished[unit_id].run_id)
        return Reused(Outcome("skipped", reason=WOULD_RUN), "")

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        pass

    def _explain(self, unit_id: str, node: Node, key: Key) -> Explained:
        before = self.finished.get(unit_id)
        if before is None:
            return Explained(unit_id, "run", self._why_not_finished(unit_id))
        if node.step.cache is False and node.effect != "once" and before.key is not None:
            return Explained(unit_id, "run", "cache: false")
        if before.key is None or (key and before.key == key):
            return Explained(unit_id, "reuse", "nothing that decides its result has changed")
        parts = tuple(changed_parts(before.key, key))
        return Explained(unit_id, "run", f"{' and '.join(parts)} changed", parts)

    def _why_not_finished(self, unit_id: str) -> str:
        view = self.recorded.step(unit_id)
        if view.outcome is None:
            return "it was interrupted" if view.attempts else "it is not on record"
        return f"it {view.outcome} then" if view.outcome == "failed" else f"it was {view.outcome} then"


class _NoModels:
    """`ports.Models` that only tell what they are. What is not on this machine is another model."""

    def __init__(self, identities: Mapping[str, Mapping[str, str]]) -> None:
        self._identities = identities

    async def prepare(self, servers: Sequence[str]) -> Mapping[str, int]:
        return dict.fromkeys(servers, 1)

    def identity(self, server: str) -> Mapping[str, str]:
        return self._identities[server]

    async def get(self, server: str) -> Model:
        raise Unavailable("it takes a server to tell")

    async def release(self, server: str) -> None:
        pass

    async def close(self) -> None:
        pass


async def explain(bound: BoundFlow, recorded: RunState, run_id: str) -> list[Explained]:
    """Each unit that a run of this flow would come to, in the order of the plan. Nothing is started or fetched."""
    for name, values in bound.plan.late_vars:
        said = f"vars.{name} is made with truncate_tokens, which takes a server"
        raise FlowError(Problem(bound.plan.place(values.path), said, "run the flow"))
    started = recorded.started
    script = started.given.get("model") if started else None
    known = _Explaining(finished_units(recorded, run_id), recorded)
    tools = FlowTools(servers=RecordedServers(bound.plan, recorded.told_tools))
    log, clock = EventLog(), SystemClock()
    journal = Journal([log], clock)
    executor = Executor(
        bound.plan,
        scope=bound.scope,
        models=_NoModels(await _identities(bound, str(script) if script else None)),
        tools=tools.of(bound.plan),
        inner_tools=tools.of,
        tool_context=ToolContext(workspace=bound.workspace, readable=bound.readable),
        emit=journal.emit,
        clock=clock,
        cores=1,
        date=started.started_at[: len("YYYY-MM-DD")] if started else None,
        known=known,
        environ=os.environ,
    )
    result = await executor.run(_nothing)
    if result.bug is not None:
        raise result.bug
    skipped = {
        event.step: Explained(
            event.step, "skip", f"its {event.reason}" if event.reason == "when" else event.reason
        )
        for event in log.of(StepFinished)
        if event.outcome == "skipped" and event.reason not in (WOULD_RUN, "dependency") and event.items is None
    }
    open_ = {
        event.step: Explained(event.step, "run", str(event.error["message"]))
        for event in log.of(StepFinished)
        if event.error is not None and event.items is None and event.step not in known.found
    }
    return _with_dependents(bound.plan, skipped | open_ | known.found)


async def _nothing() -> None:
    pass


async def _identities(bound: BoundFlow, script: str | None) -> dict[str, Mapping[str, str]]:
    if script is not None:
        models = ScriptedModels(read_script(bound.cwd / script.removeprefix(SCRIPTED)), SystemClock())
        return {name: models.identity(name) for name in bound.plan.servers}
    state_root = Path(platformdirs.user_state_dir("gptoss-flow"))
    found: dict[str, Mapping[str, str]] = {}
    for name, resolved in bound.profiles.items():
        try:
            if resolved.profile.resolved_engine == "external":
                server = ExternalServer(resolved.profile, on_change=lambda *change: None)
                found[name] = served_identity(resolved.profile, await server.ensure_ready())
                continue
            chosen, model = await choose_model_file(resolved, Machine.here(), lambda line: None, offline=True)
            engine = find_engine(chosen.profile, state_root, os.environ)
            found[name] = result_identity(chosen.profile, model.path, engine.identity)
        except Unavailable:
            found[name] = {"model": "not on this machine"}
    return found


def _with_dependents(plan: Plan, found: Mapping[str, Explained]) -> list[Explained]:
    """Whoever needs a step that would run would run too: its result is not known before."""
    by_step: dict[str, list[Explained]] = {}
    for explained in found.values():
        by_step.setdefault(explained.unit.partition("[")[0].partition(".")[0], []).append(explained)
    running: set[str] = set()
    told: list[Explained] = []
    for node in plan.nodes.values():
        own = by_step.get(node.id, [])
        needed = [need.step for need in node.needs if need.step in running]
        if needed:
            own = [Explained(node.id, "run", f"it needs {' and '.join(needed)}")]
        elif not own:
            own = [Explained(node.id, "reuse", "it has no items")]
        if any(explained.verdict == "run" for explained in own):
            running.add(node.id)
        told += own
    return told
