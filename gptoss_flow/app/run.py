"""Runs a flow: opens its record, builds the real adapters, lets the executor walk, closes what was opened."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from gptoss_flow import __version__
from gptoss_flow.app.bench import make_bench
from gptoss_flow.app.bind import SCRIPTED, BoundFlow, Given, bind_flow
from gptoss_flow.app.kept_files import KeptFiles, keep_outputs
from gptoss_flow.app.lock import lock_command, pins_by_flow
from gptoss_flow.app.masked_tools import masking
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.own_files import own_files
from gptoss_flow.app.repository import describe_repository
from gptoss_flow.app.tool_servers import ToolServers
from gptoss_flow.app.tools import FlowTools
from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.events import Json, RunResumed, RunStarted, RunStatus, Warned
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Ask, Asking, Clock, Emit, Grants, Models, Sink, ToolContext, nobody
from gptoss_flow.record.folder import RunFolder, kept_log_path, new_run_id
from gptoss_flow.record.journal_file import SYNC_AFTER_S, JournalFile
from gptoss_flow.record.kept_log import KeptLog
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.rlog import Rlog
from gptoss_flow.record.state import RunState
from gptoss_flow.record.stream_mask import EventRedactor
from gptoss_flow.run.budget import Spent
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.ends import RunResult
from gptoss_flow.run.executor import Executor
from gptoss_flow.run.journal import Journal
from gptoss_flow.run.known import NOTHING_KNOWN, Known
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script
from gptoss_flow.tools.ui_pane.panes import Panes
from gptoss_flow.tools.ui_pane.tool import put_back
from gptoss_flow.words import count

LAST_CLOSE_S = 0.5
"""How long the last signal waits for those who see the run's events."""
SIGNALS = {
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
    signal.SIGHUP: ExitCode.TERMINATED,
}


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that ended, with the fold of its events and the folder of its record."""

    result: RunResult
    state: RunState
    folder: Path

    @property
    def status(self) -> RunStatus:
        return self.result.status

    @property
    def outputs(self) -> Mapping[str, Json]:
        """What it gave; null for what a run that failed could not compute."""
        return self.result.outputs

    @property
    def error(self) -> str:
        """What ended it, where it did not succeed."""
        return self.result.error


class _Fold:
    """The sink that keeps the run's state."""

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.take = self.state.apply

    def close(self) -> None:
        pass


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


def run_flow_sync(
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
    ask: Ask = nobody,
    unsandboxed: bool = False,
    keep_baselines: bool = False,
) -> Finished:
    """`run_flow` for a program without an event loop of its own."""
    return asyncio.run(
        run_flow(
            plan,
            given,
            views=views,
            model=model,
            offline=offline,
            scratch=scratch,
            select=select,
            known=known,
            said=said,
            resume=resume,
            keep_in=keep_in,
            ask=ask,
            unsandboxed=unsandboxed,
            keep_baselines=keep_baselines,
        )
    )


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
    fold = _Fold(resume.state if resume else RunState())
    log_path = resume.kept_log if resume else None
    if keep_in is not None and resume is None:
        log_path = kept_log_path(keep_in, plan.name, clock.now().astimezone())
    kept = [KeptLog(log_path, folder.events_path if resume else None)] if log_path else []
    events_file = JournalFile(folder.events_path)
    sinks: list[Sink] = [events_file, Rlog(folder.rlog_path), *kept, fold, *views]
    files = KeptFiles(folder.path, redactor.text, resume.life if resume else 0)
    journal = Journal(sinks, clock, first_seq=resume.first_seq if resume else 1, redact=EventRedactor(redactor))
    models = script or ServedModels.here(
        bound.profiles,
        emit=journal.emit,
        clock=clock,
        log_folder=None if scratch else folder.path,
        offline=offline,
        on_chosen=files.profile,
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
        emit=journal.emit,
        lock_command=lock_command(plan.loaded.path),
    )
    tools = FlowTools(masking(redactor), servers)

    try:
        files.flow(plan.loaded, _changes(resume.state.started.given if resume and resume.state.started else said))
        executor = Executor(
            plan,
            scope=bound.scope,
            models=models,
            tools=tools.of(plan),
            inner_tools=tools.of,
            prepare=servers.prepare,
            tool_context=tool_context,
            emit=journal.emit,
            clock=clock,
            cores=os.cpu_count() or 1,
            date=run["started_at"][: len("YYYY-MM-DD")],
            known=known(run["id"], redactor, journal.emit) if known else NOTHING_KNOWN,
            select=select,
            environ=os.environ,
            ask=_without_secrets_shown(ask, redactor),
            spent=Spent.of(resume.state) if resume else None,
            bench=None
            if isinstance(models, ScriptedModels)
            else make_bench(
                bound,
                models,
                emit=journal.emit,
                clock=clock,
                folder=folder.path,
                offline=offline,
                earlier=resume.state if resume else None,
                keep_baselines=keep_baselines,
            ),
        )
        with _signals(executor, journal) if signals else nullcontext(), _syncing(events_file):
            said = {
                "inputs": list(given.inputs),
                "servers": dict(given.servers),
                "workspace": _text(given.workspace),
                "model": model,
                "record": _text(log_path),
                **(said or {}),
            }
            journal.emit(resume.event if resume else _run_started(bound, run, said))
            if resume and resume.damaged_lines:
                damaged = count(resume.damaged_lines, "damaged line")
                journal.emit(Warned(message=f"the record has {damaged}: passed over"))
            result = await _to_its_end(executor, partial(_close, tool_context, models, servers))
            keep_outputs(folder.path, fold.state.finished.outputs if fold.state.finished else {})
    except RecordError as error:
        result = _unrecorded(error)
    finally:
        await _close(tool_context, models, servers)
        try:
            journal.close()
        except RecordError as error:
            result = _unrecorded(error)
        folder.close()
    return Finished(result=_without_secrets(result, redactor), state=fold.state, folder=folder.path)


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


def _unrecorded(error: RecordError) -> RunResult:
    return RunResult("failed", ExitCode.RECORD, {}, str(error))


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
        given=said,
    )


def _without_secrets(result: RunResult, redactor: Redactor) -> RunResult:
    """What the user is given. A value that only looks like a secret may be just what the flow is for."""
    if result.bug is not None:
        result.bug.args = tuple(redactor.named(str(said)) for said in result.bug.args)
    return replace(result, outputs=redactor.named_value(result.outputs), error=redactor.named(result.error))


def _without_secrets_shown(ask: Ask, redactor: Redactor) -> Ask:
    """A person decides on a call without seeing its secrets: what is on a screen is seen by others too."""

    async def asked(asking: Asking) -> Literal["approved", "declined", "unasked"]:
        return await ask(replace(asking, arguments=redactor.named_value(dict(asking.arguments))))

    return asked


def _changes(said: Mapping[str, Json] | None) -> list[str]:
    """What `--set` said."""
    changes = said.get("set") if said else None
    return [str(change) for change in changes] if isinstance(changes, list) else []


@contextmanager
def _syncing(events_file: JournalFile) -> Iterator[None]:
    """What waits for stable storage is brought there in time, though nothing more should happen for long."""

    async def sync() -> None:
        with suppress(RecordError):  # which the next record raises again
            while True:
                await asyncio.sleep(SYNC_AFTER_S)
                events_file.sync()

    task = asyncio.create_task(sync())
    try:
        yield
    finally:
        task.cancel()


async def _to_its_end(executor: Executor, close: Callable[[], Awaitable[None]]) -> RunResult:
    """A run is not dropped where its caller is cancelled: it is ended in order first."""
    run = asyncio.create_task(executor.run(close))
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        executor.interrupt(ExitCode.INTERRUPTED)
        await asyncio.wait([run])
        run.result()
        raise


def _closed(journal: Journal) -> None:
    with suppress(Exception):
        journal.close()


@contextmanager
def _signals(executor: Executor, journal: Journal) -> Iterator[None]:
    """Signals interrupt the run; the last one ends the process at once (its servers lose their lease with it)."""
    loop = asyncio.get_running_loop()
    first: list[ExitCode] = []

    def arrived(code: ExitCode) -> None:
        first.append(code)
        if executor.interrupt(code):
            return
        with suppress(Exception):  # whatever goes wrong now, the user wants out
            executor.abort()
        closing = threading.Thread(target=_closed, args=(journal,), daemon=True)
        closing.start()  # the record first; whoever watches too may take longer than the user wants to wait
        closing.join(LAST_CLOSE_S)
        os._exit(first[0])

    for number, code in SIGNALS.items():
        loop.add_signal_handler(number, arrived, code)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
