"""Replays a run: the flow as it is now, the inputs and answers as they were recorded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow.app.bench import replayed_bench, trials_on_record
from gptoss_flow.app.bind import SCRIPTED, BoundFlow, bind_flow
from gptoss_flow.app.check import check_flow
from gptoss_flow.app.kept_files import FLOW
from gptoss_flow.app.masked_tools import masking
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.replay import Apart, Replayed, ReplayedModels, Taken
from gptoss_flow.app.replay_tools import RecordedServers, ReplayedTool, decided_then
from gptoss_flow.app.resume import changes_then, flow_then, given_then, selected_then
from gptoss_flow.app.tools import FlowTools
from gptoss_flow.app.verify import VerifiedModels
from gptoss_flow.errors import ExitCode, Mismatch, Problem, RecordError
from gptoss_flow.events import Json, RunStarted
from gptoss_flow.fields import json_text
from gptoss_flow.ports import Clock, Emit, Models, Sink, ToolContext
from gptoss_flow.record.differences import excerpt, first_apart
from gptoss_flow.record.folder import EVENTS
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.state import RunState, fold
from gptoss_flow.record.stream_mask import EventRedactor
from gptoss_flow.record.tape import Tape
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.ends import RunResult
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script

How = Literal["strict", "lenient", "verify"]
"""strict: no server, every request must be as recorded. lenient: what is not on record is asked of a live server.
verify: everything is asked of a live server, and every token held against the record."""


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay that found everything as it was."""

    run_id: str
    requests: int
    calls: int
    trials: int
    """Of benches."""
    taken: int
    """Results of which the record does not say how they came about: of an earlier run, or assumed."""
    result: RunResult


class _HastyClock(SystemClock):
    """Waits between tries were for servers to recover: a record needs none."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(0)


async def replay_run(folder: Path, how: How, *, views: Sequence[Sink] = (), offline: bool = False) -> Replay:
    """Raises `Mismatch` at the first thing that is not as it was; before that `Invalid` and `RecordError`."""
    events = list(read_journal(folder / EVENTS))
    recorded = fold(events)
    started = recorded.started
    if started is None or recorded.finished is None:
        raise RecordError(f"run {folder.name} has no end on record: only a whole run can be replayed")
    if recorded.finished.status in ("cancelled", "limited"):
        said = f"run {folder.name} was ended before its steps were: {recorded.finished.error}"
        raise RecordError(Problem(None, said, "only a run that went to its end can be replayed: resume it first"))
    tape = Tape.of(events)
    requests = sum(map(len, tape.asked.values()))
    calls = sum(map(len, tape.called.values()))
    taken = sum(outcome is not None for outcomes in tape.taken.values() for outcome in outcomes)
    bound = _bound(started, folder, offline)
    redactor = Redactor(bound.scope.get("secrets", {}))
    clock = SystemClock() if how == "verify" else _HastyClock()
    journal = Journal(views, clock, redact=EventRedactor(redactor))
    live = None if how == "strict" else _live(started, bound, journal.emit, clock, offline)
    apart = Apart(bound.plan)
    models, tools = _adapters(how, tape, redactor, bound, recorded, live, apart)
    executor = Executor(
        bound.plan,
        scope=bound.scope,
        models=models,
        tools=tools.of(bound.plan),
        inner_tools=tools.of,
        tool_context=ToolContext(workspace=bound.workspace, readable=bound.readable),
        emit=journal.emit,
        clock=clock,
        cores=os.cpu_count() or 1,
        date=started.started_at[: len("YYYY-MM-DD")],
        known=Taken(tape, folder.name),
        select=selected_then(bound.plan, started),
        environ=os.environ,
        ask=decided_then(tape, apart),
        bench=replayed_bench(bound, recorded, apart.at),
    )
    try:
        result = await executor.run(models.close)
    finally:
        await models.close()
        journal.close()
    _check_end(result, recorded, tape, redactor, how, apart)
    trials = sum(map(len, trials_on_record(recorded).values()))
    return Replay(folder.name, requests, calls, trials, taken, result)


def _bound(started: RunStarted, folder: Path, offline: bool) -> BoundFlow:
    given = given_then(started)
    flow = flow_then(started)
    if not flow.exists() and (folder / FLOW).exists():
        flow = folder / FLOW  # as it was: of a question, or removed since
    plan = check_flow(
        flow,
        given.cwd,
        offline=offline,
        changes=changes_then(started),
        untrusted=bool(started.given.get("untrusted")),
        chosen=given.servers,
    )
    run = {"id": started.run_id, "dir": str(folder), "started_at": started.started_at}
    return bind_flow(plan, given, run)


def _live(started: RunStarted, bound: BoundFlow, emit: Emit, clock: Clock, offline: bool) -> Models:
    script = started.given.get("model")
    if isinstance(script, str):
        return ScriptedModels(read_script(Path(started.cwd) / script.removeprefix(SCRIPTED)), clock)
    return ServedModels.here(bound.profiles, emit=emit, clock=clock, log_folder=None, offline=offline)


def _adapters(
    how: How,
    tape: Tape,
    redactor: Redactor,
    bound: BoundFlow,
    recorded: RunState,
    live: Models | None,
    apart: Apart,
) -> tuple[Models, FlowTools]:
    def defaults(server: str) -> list[Mapping[str, Json]]:
        if recorded.started is not None and recorded.started.given.get("model"):
            return [{}]  # a script has no profile
        return [each.profile.request_params() for each in bound.profiles[server].alternatives]

    replayed = Replayed(tape=tape, apart=apart, clean=redactor.value, defaults=defaults, live=live)
    masked = masking(redactor) or (lambda tool: tool)
    may_read = how == "lenient"
    tools = FlowTools(
        lambda tool: ReplayedTool(masked(tool), replayed, may_read=may_read),
        RecordedServers(bound.plan, recorded.told_tools),
    )
    if how == "verify" and live is not None:
        return VerifiedModels(tape, live, apart), tools
    return ReplayedModels(replayed), tools


def _check_end(
    result: RunResult, recorded: RunState, tape: Tape, redactor: Redactor, how: How, apart: Apart
) -> None:
    """What only the end of the run tells. Raises `Mismatch`, or what a bug raised."""
    then = recorded.finished
    assert then is not None
    if result.bug is not None:
        raise result.bug
    if result.exit_code is ExitCode.MISMATCH:
        raise apart.first or Mismatch(result.error)
    if how == "lenient":
        return
    if result.status != then.status:
        said = f": {result.error}" if result.error else ""
        raise Mismatch(f"the run {result.status}, and {then.status} when it was recorded{said}")
    if then.status == "succeeded":
        for kind, left in (("request", tape.asked), ("call", tape.called)):
            for step, waiting in left.items():
                if waiting:
                    raise apart.at(step, f"the record has a {kind} that was not made again")
    outputs = redactor.value(result.outputs)
    for name in sorted(outputs.keys() | then.outputs.keys()):
        now, was = outputs.get(name), then.outputs.get(name)
        if now != was:
            text, before = json_text(now), json_text(was)
            at = first_apart(text, before) or 0
            said = f"output {name} is {excerpt(text, at)}, and was {excerpt(before, at)}"
            mark = apart.plan.place(("outputs", name)) if name in (apart.plan.outputs or {}) else None
            raise Mismatch(Problem(mark, said))
