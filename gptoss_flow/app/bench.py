"""Puts a bench together: the servers that it measures, the records that it takes prompts and trials from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gptoss_flow.app.bench_servers import BenchServers
from gptoss_flow.app.bind import BoundFlow
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.runs import LATEST, run_folder
from gptoss_flow.bench.runner import BenchRunner
from gptoss_flow.errors import RecordError, StepError
from gptoss_flow.events import Json, PromptRendered
from gptoss_flow.ports import Clock, Emit
from gptoss_flow.record.folder import EVENTS, list_runs
from gptoss_flow.record.journal_file import read_journal
from gptoss_flow.record.state import RunState, StepView
from gptoss_flow.server.model import Machine
from gptoss_flow.trials import Recorded


def make_bench(
    bound: BoundFlow,
    models: ServedModels,
    *,
    emit: Emit,
    clock: Clock,
    folder: Path,
    offline: bool,
    earlier: RunState | None,
    keep_baselines: bool,
) -> BenchRunner:
    """The bench of a run whose record is in `folder`. `earlier`: what is on record of it, where it is resumed."""
    machine = Machine.here()
    servers = BenchServers(
        models, bound.profiles, emit=emit, clock=clock, folder=folder, machine=machine, offline=offline
    )
    return BenchRunner(
        open_target=servers.open,
        recorded=lambda wanted: recorded_prompts(wanted, bound.cwd, folder.name),
        identity=models.identity,
        folder=bound.plan.loaded.folder,
        earlier=trials_on_record(earlier) if earlier else {},
        keep_baselines=keep_baselines,
    )


def trials_on_record(state: RunState) -> dict[str, Mapping[int, dict[str, Json]]]:
    """Of each bench step, item or step within an item, the trials that ended, by number."""
    found: dict[str, Mapping[int, dict[str, Json]]] = {}
    todo: list[StepView] = [*state.steps.values()]
    while todo:
        step = todo.pop()
        todo += step.items.values()
        if step.trials:
            found[step.id] = dict(step.trials)
    return found


def recorded_prompts(wanted: Recorded, base: Path, this_run: str) -> list[PromptRendered]:
    """The prompts of a run on record, in their order. Raises `StepError`."""
    try:
        if wanted.run in LATEST:
            earlier = [folder for folder in list_runs(base) if folder.name != this_run]
            found = next((prompts for folder in reversed(earlier) if (prompts := _prompts(folder, wanted))), [])
        else:
            found = _prompts(run_folder(base, wanted.run), wanted)
    except RecordError as error:
        raise StepError("expression", f"prompts_from: {error}", retryable=False) from None
    if not found:
        of_step = f" of step {wanted.step}" if wanted.step else ""
        raise StepError("expression", f"prompts_from: run {wanted.run} has no prompt{of_step}", retryable=False)
    if any(prompt.redacted for prompt in found):
        said = f"prompts_from: a secret was taken out of the prompts of run {wanted.run}: they are not whole"
        raise StepError("expression", said, retryable=False)
    return found


def _prompts(folder: Path, wanted: Recorded) -> list[PromptRendered]:
    prompts = [each.event for each in read_journal(folder / EVENTS) if isinstance(each.event, PromptRendered)]
    return [prompt for prompt in prompts if wanted.step in (None, prompt.step.partition("[")[0])]
