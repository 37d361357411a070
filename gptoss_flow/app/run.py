"""Runs a flow: opens its record, builds the real adapters, lets the executor walk, closes what was opened."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from gptoss_flow import __version__
from gptoss_flow.app.bench import make_bench
from gptoss_flow.app.bind import SCRIPTED, BoundFlow, Given, bind_flow
from gptoss_flow.app.blocking import blocking
from gptoss_flow.app.finished import Finished, unrecorded, without_secrets
from gptoss_flow.app.interrupts import heeding_signals, to_its_end
from gptoss_flow.app.kept_files import keep_outputs
from gptoss_flow.app.lock_file import lock_command
from gptoss_flow.app.lock_pins import pins_by_flow
from gptoss_flow.app.masked_tools import masking
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.own_files import own_files
from gptoss_flow.app.recording import Recording
from gptoss_flow.app.repository import describe_repository
from gptoss_flow.app.tool_servers import ToolServers
from gptoss_flow.app.tools import FlowTools
from gptoss_flow.errors import RecordError
from gptoss_flow.events import Json, RunResumed, RunStarted, Warned
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Ask, Asking, Clock, Emit, Grants, Models, Sink, ToolContext, nobody
from gptoss_flow.record.folder import RunFolder, kept_log_path, new_run_id
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.state import RunState
from gptoss_flow.run.budget import Spent
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.known import NOTHING_KNOWN, Known
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script
from gptoss_flow.tools.ui_pane.panes import Panes
from gptoss_flow.tools.ui_pane.tool import put_back
from gptoss_flow.words import count


@dataclass(frozen=True, kw_only=True)
class Resumption:
    """A run that goes on, in its own folder."""

    folder: RunFolder
    """Locked. It is closed when the run ends."""
    run: Mapping[str, str]
    """What expressions see as `run`: as it was."""
    first_seq: int
    """Of the next event on record."""
    event: RunResumed
    state: RunState
    """The fold of what is on record."""
    damaged_lines: int = 0
    """What could not be read of it."""
    life: int = 1
    """How often it was resumed, this time counted."""
    kept_log: Path | None = None
    """The log by date that it writes too."""
    panes: Panes = field(default_factory=dict)
    """What `ui_pane` had made."""


MakeKnown = Callable[[str, Redactor, Emit], Known]
"""What is known beforehand, for the run of this id, whose secrets this masks and whose journal this writes."""


async def run_flow(
    plan: Plan,
    given: Given,
    *,
    views: Sequence[Sink] = (),
    model: str | None = None,
    offline: bool = False,
    scratch: Path | None = None,
    select: frozenset[str] | None = None,
    known: MakeKnown | None = None,
    said: Mapping[str, Json] | None = None,
    resume: Resumption | None = None,
    keep_in: Path | None = None,
    keep_baselines: bool = False,
    clock: Clock | None = None,
    ask: Ask = nobody,
    unsandboxed: bool = False,
    signals: bool = True,
) -> Finished:
    """Run a plan to its end; `views` see every event. `model`: `scripted:FILE` answers in place of servers.

    `scratch`: a folder that takes the record in place of the caller's, and that nothing need outlive the run in.
    `select`: only these steps run. `said`: what the user said beside `given`, for the record.

    `keep_in`: a folder that takes a log of the run too, by date. A run that is resumed goes on with its own.
    `keep_baselines`: bench steps write theirs.

    `ask` decides on calls of tools that a person is to decide. `unsandboxed`: the user allows tool code without a
    sandbox where a step wants that.

    Raises `Invalid` for what was given and `RecordError` where no record can be opened; later failures are in
    the result. SIGINT, SIGTERM and SIGHUP end the run, but for the steps of `finally`; a second one skips those.
    Where there are none it ends the process, without waiting for servers to stop, as a third one does in any case.
    The record is closed either way.
    """
    clock = clock or SystemClock()
    record_root = scratch or given.cwd
    run = dict(resume.run) if resume else _new_run(record_root, clock.now())
    bound = bind_flow(plan, given, run)
    script = ScriptedModels(read_script(Path(model.removeprefix(SCRIPTED))), clock) if model else None
    redactor = Redactor(bound.scope.get("secrets", {}))
    folder = resume.folder if resume else RunFolder.create(record_root, run["id"])
    log = resume.kept_log if resume else None
    if keep_in is not None and resume is None:
        log = kept_log_path(keep_in, plan.name, clock.now().astimezone())
    record = Recording(
        folder,
        clock=clock,
        redactor=redactor,
        log=log,
        views=views,
        state=resume.state if resume else None,
        first_seq=resume.first_seq if resume else 1,
        life=resume.life if resume else 0,
    )
    emit = record.journal.emit
    models = script or ServedModels.here(
        bound.profiles,
        emit=emit,
        clock=clock,
        log_folder=None if scratch else record.path,
        offline=offline,
        on_chosen=record.files.profile,
    )
    tool_context = ToolContext(
        workspace=bound.workspace,
        readable=bound.readable,
        own_files=own_files(bound),
        grants=Grants(unsandboxed=unsandboxed),
    )
    put_back(resume.panes if resume else {}, tool_context.kept_for_run)
    servers = ToolServers(
        plan,
        bound.scope,
        pins_by_flow(plan.loaded),
        select=select,
        emit=emit,
        lock_command=lock_command(plan.loaded.path),
    )
    tools = FlowTools(masking(redactor), servers)

    try:
        first_said = resume.state.started.given if resume and resume.state.started else said or {}
        record.files.flow(plan.loaded, _changes(first_said))
        executor = Executor(
            plan,
            scope=bound.scope,
            models=models,
            tools=tools.of(plan),
            inner_tools=tools.of,
            prepare=servers.prepare,
            tool_context=tool_context,
            emit=emit,
            clock=clock,
            cores=os.cpu_count() or 1,
            date=run["started_at"][: len("YYYY-MM-DD")],
            known=known(run["id"], redactor, emit) if known else NOTHING_KNOWN,
            select=select,
            environ=os.environ,
            ask=_without_secrets_shown(ask, redactor),
            spent=Spent.of(resume.state) if resume else None,
            bench=None
            if isinstance(models, ScriptedModels)
            else make_bench(
                bound,
                models,
                emit=emit,
                clock=clock,
                folder=record.path,
                offline=offline,
                earlier=resume.state if resume else None,
                keep_baselines=keep_baselines,
            ),
        )
        with heeding_signals(executor, record.journal) if signals else nullcontext(), record.syncing():
            words = {"model": model, "record": _text(log), **(said or {})}
            emit(resume.event if resume else _run_started(bound, run, words))
            if resume and resume.damaged_lines:
                damaged = count(resume.damaged_lines, "damaged line")
                emit(Warned(message=f"the record has {damaged}: passed over"))
            result = await to_its_end(executor, partial(_close, tool_context, models, servers))
            keep_outputs(record.path, record.state.finished.outputs if record.state.finished else {})
    except RecordError as error:
        result = unrecorded(error)
    finally:
        await _close(tool_context, models, servers)
        try:
            record.close()
        except RecordError as error:
            result = unrecorded(error)
    return Finished(result=without_secrets(result, redactor), state=record.state, folder=record.path)


run_flow_sync = blocking(run_flow)


async def _close(tool_context: ToolContext, models: Models, servers: ToolServers) -> None:
    """Nothing that the run's tools or models kept outlives it. Safe to call twice."""
    try:
        await tool_context.kept_for_run.aclose()
    finally:
        await asyncio.gather(models.close(), servers.aclose())


def _new_run(record_root: Path, started: datetime) -> dict[str, str]:
    run_id = new_run_id(started)
    return {
        "id": run_id,
        "dir": str(record_root / ".gptoss-flow" / "runs" / run_id),
        "started_at": started.isoformat(timespec="milliseconds"),
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _run_started(bound: BoundFlow, run: dict[str, str], said: dict[str, Json]) -> RunStarted:
    plan = bound.plan
    repository = describe_repository(bound.cwd)
    return RunStarted(
        run_id=run["id"],
        flow=plan.name,
        flow_path=str(plan.loaded.path),
        description=(plan.loaded.flow and plan.loaded.flow.description) or "",
        started_at=run["started_at"],
        version=__version__,
        inputs=dict(bound.inputs),
        steps={node.id: node.step.kind for node in plan.nodes.values()},
        servers={name: profile.name for name, profile in bound.profiles.items()},
        cwd=str(bound.cwd),
        workspace=str(bound.workspace),
        repo_sha=repository.sha,
        branch=repository.branch,
        dirty=repository.dirty,
        needs={node.id: [need.step for need in node.needs] for node in plan.nodes.values()},
        final=[node.id for node in plan.nodes.values() if node.final],
        given={
            "inputs": list(bound.given.inputs),
            "servers": dict(bound.given.servers),
            "workspace": _text(bound.given.workspace),
            **said,
        },
    )


def _without_secrets_shown(ask: Ask, redactor: Redactor) -> Ask:
    """A person decides on a call without seeing its secrets: what is on a screen is seen by others too."""

    async def asked(asking: Asking) -> Literal["approved", "declined", "unasked"]:
        return await ask(replace(asking, arguments=redactor.named_value(dict(asking.arguments))))

    return asked


def _changes(said: Mapping[str, Json]) -> list[str]:
    """What `--set` said."""
    changes = said.get("set")
    return [str(change) for change in changes] if isinstance(changes, list) else []
