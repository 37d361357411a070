"""Flows from Python: load, compile, run. What the command `run` does, without its signals and its output."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from gptoss_flow.app import run as app_run
from gptoss_flow.app.bind import Given
from gptoss_flow.app.blocking import blocking
from gptoss_flow.app.check import check_flow, plan_of
from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.finished import Finished
from gptoss_flow.app.known import make_known
from gptoss_flow.app.lock import sources_of_flow
from gptoss_flow.events import Event, Json, Stamped
from gptoss_flow.lang.load import LoadedFlow
from gptoss_flow.lang.load import load_flow as read_flow
from gptoss_flow.plan.plan import Plan

OnEvent = Callable[[Event], None]


def load_flow(path: str | Path, *, cwd: str | Path | None = None, offline: bool = False) -> LoadedFlow:
    """Read a flow file, those that its steps run, and the profiles that they name.

    What is wrong with its shape stands in `problems`. Raises `Invalid` where it is no YAML document.
    """
    sources = sources_of_flow(Path(path), SourceFetcher.here(offline=offline))
    return read_flow(Path(path), _folder(cwd), os.environ, sources)


def compile_flow(flow: LoadedFlow | str | Path, *, cwd: str | Path | None = None) -> Plan:
    """The plan of a flow. Raises `Invalid`, whose `problems` are all that is wrong, each with its place."""
    return plan_of(flow) if isinstance(flow, LoadedFlow) else check_flow(flow, _folder(cwd))


async def run_flow(
    flow: Plan | LoadedFlow | str | Path,
    inputs: Mapping[str, Json] | None = None,
    *,
    servers: Mapping[str, str] | None = None,
    model: str | None = None,
    workspace: str | Path | None = None,
    cwd: str | Path | None = None,
    on_event: OnEvent | None = None,
    record: bool = True,
    offline: bool = False,
    allow_unsandboxed: bool = False,
) -> Finished:
    """Run a flow to its end: `status`, `outputs` and `error` of what is returned tell how it went.

    `servers`: other profiles, or addresses, for the flow's servers. `model="scripted:FILE"` answers from a file.
    `cwd` is the caller's folder, which relative paths belong to, and the record (`.gptoss-flow`; `record=False`:
    none is kept). `on_event` is called with each event as it happens, in the loop's thread.

    Raises `Invalid` for what was given, `RecordError`, and what a bug raised. A task that is cancelled ends the
    run first: what runs is cancelled, `finally` is done, the record is closed.
    """
    plan = flow if isinstance(flow, Plan) else compile_flow(flow, cwd=cwd)
    given = Given(
        inputs=dict(inputs or {}),
        servers=dict(servers or {}),
        cwd=_folder(cwd),
        workspace=None if workspace is None else Path(workspace),
    )
    with ExitStack() as stack:
        scratch = None if record else Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gptoss-flow-")))
        finished = await app_run.run_flow(
            plan,
            given,
            views=[_View(on_event)] if on_event is not None else [],
            model=model,
            offline=offline,
            scratch=scratch,
            known=make_known(given.cwd, {}, use_store=True) if record else None,
            unsandboxed=allow_unsandboxed,
            signals=False,
        )
    if finished.result.bug is not None:
        raise finished.result.bug
    return finished


run_flow_sync = blocking(run_flow)


class _View:
    """The sink that calls back."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event

    def take(self, stamped: Stamped) -> None:
        self._on_event(stamped.event)

    def close(self) -> None:
        pass


def _folder(cwd: str | Path | None) -> Path:
    return Path.cwd() if cwd is None else Path(cwd).absolute()
