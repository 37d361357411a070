"""Runs a flow: opens its record, builds the real adapters, lets the executor walk, closes what was opened."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from gptoss_flow import __version__
from gptoss_flow.app.bind import SCRIPTED, BoundFlow, Given, bind_flow
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.repository import describe_repository
from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.events import RunStarted
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Clock, Emit, Models, Sink, ToolContext
from gptoss_flow.record.folder import RunFolder, new_run_id
from gptoss_flow.record.journal_file import JournalFile
from gptoss_flow.record.rlog import Rlog
from gptoss_flow.record.state import RunState
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.run.executor import Executor, RunResult
from gptoss_flow.run.journal import Journal
from gptoss_flow.server.model import Machine
from gptoss_flow.testing.scripted_model import ScriptedModels, read_script
from gptoss_flow.tools import TOOLS

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


class _Fold:
    """The sink that keeps the run's state."""

    def __init__(self) -> None:
        self.state = RunState()
        self.take = self.state.apply

    def close(self) -> None:
        pass


def run_flow_sync(
    plan: Plan,
    given: Given,
    *,
    views: Sequence[Sink] = (),
    model: str | None = None,
    offline: bool = False,
    scratch: Path | None = None,
) -> Finished:
    """`run_flow` for a program without an event loop of its own."""
    return asyncio.run(run_flow(plan, given, views=views, model=model, offline=offline, scratch=scratch))


async def run_flow(
    plan: Plan,
    given: Given,
    *,
    views: Sequence[Sink] = (),
    model: str | None = None,
    offline: bool = False,
    scratch: Path | None = None,
    clock: Clock | None = None,
) -> Finished:
    """Run a plan to its end; `views` see every event. `model`: `scripted:FILE` answers in place of servers.

    `scratch`: a folder that takes the record in place of the caller's, and that nothing need outlive the run in.

    Raises `Invalid` for what was given and `RecordError` where no record can be opened; later failures are in
    the result. SIGINT, SIGTERM and SIGHUP end the run; a second one ends the process too, without waiting for its
    servers to stop. The record is closed either way.
    """
    clock = clock or SystemClock()
    started = clock.now()
    run_id = new_run_id(started)
    record_root = scratch or given.cwd
    run = {
        "id": run_id,
        "dir": str(record_root / ".gptoss-flow" / "runs" / run_id),
        "started_at": started.isoformat(timespec="milliseconds"),
    }
    bound = bind_flow(plan, given, run)
    script = ScriptedModels(read_script(Path(model.removeprefix(SCRIPTED))), clock) if model else None
    folder = RunFolder.create(record_root, run_id)
    fold = _Fold()
    sinks: list[Sink] = [JournalFile(folder.events_path), Rlog(folder.rlog_path), fold, *views]
    journal = Journal(sinks, clock)
    models = script or _served(bound, journal.emit, clock, None if scratch else folder.path, offline)
    try:
        _keep_flow(plan, folder.path)
        executor = Executor(
            plan,
            scope=bound.scope,
            models=models,
            tools=TOOLS,
            tool_context=ToolContext(workspace=bound.workspace, readable=bound.readable),
            emit=journal.emit,
            clock=clock,
            cores=os.cpu_count() or 1,
        )
        with _signals(executor, journal):
            journal.emit(_run_started(bound, run))
            result = await executor.run(models.close)
    except RecordError as error:
        result = _unrecorded(error)
    finally:
        await models.close()
        try:
            journal.close()
        except RecordError as error:
            result = _unrecorded(error)
        folder.close()
    return Finished(result=result, state=fold.state, folder=folder.path)


def _unrecorded(error: RecordError) -> RunResult:
    return RunResult("failed", ExitCode.RECORD, {}, str(error))


def _served(bound: BoundFlow, emit: Emit, clock: Clock, log_folder: Path | None, offline: bool) -> Models:
    return ServedModels(
        bound.profiles,
        emit=emit,
        clock=clock,
        state_root=Path(platformdirs.user_state_dir("gptoss-flow")),
        log_folder=log_folder,
        machine=Machine.here(),
        offline=offline,
    )


def _run_started(bound: BoundFlow, run: dict[str, str]) -> RunStarted:
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
    )


def _keep_flow(plan: Plan, folder: Path) -> None:
    """The flow as it was, beside its record."""
    path = folder / "flow.yaml"
    try:
        path.write_text(plan.loaded.document.text, encoding="utf-8")
        path.chmod(0o600)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _signals(executor: Executor, journal: Journal) -> Iterator[None]:
    """Signals interrupt the run; a second one ends the process at once (its servers lose their lease with it)."""
    loop = asyncio.get_running_loop()
    seen: list[ExitCode] = []

    def arrived(code: ExitCode) -> None:
        if seen:
            with suppress(Exception):  # whatever goes wrong now, the user wants out
                executor.abort()
            with suppress(Exception):
                journal.close()
            os._exit(seen[0])
        seen.append(code)
        executor.interrupt(code)

    for number, code in SIGNALS.items():
        loop.add_signal_handler(number, arrived, code)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
