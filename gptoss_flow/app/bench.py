"""Puts a bench together: the servers that it measures, the records that it takes prompts and trials from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from gptoss_flow.app.bench_servers import BenchServers
from gptoss_flow.app.bind import BoundFlow
from gptoss_flow.app.models import ServedModels
from gptoss_flow.app.runs import LATEST, run_folder
from gptoss_flow.bench.runner import BenchRunner
from gptoss_flow.errors import Mismatch, RecordError, StepError
from gptoss_flow.events import BenchJudged, Json, PromptRendered
from gptoss_flow.lang.defaults import merge
from gptoss_flow.lang.dump import to_yaml
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
        share=lambda server, changes, said: shared_profile(bound, server, changes, said),
        earlier=trials_on_record(earlier) if earlier else {},
        keep_baselines=keep_baselines,
    )


def replayed_bench(bound: BoundFlow, recorded: RunState, apart: Callable[[str, str], Mismatch]) -> BenchRunner:
    """The bench of a replay: every trial is taken from the record, and the service levels judge it anew."""
    return BenchRunner(
        open_target=None,
        recorded=lambda wanted: [],
        identity=lambda server: {},
        folder=bound.plan.loaded.folder,
        share=lambda server, changes, said: shared_profile(bound, server, changes, said),
        earlier=trials_on_record(recorded),
        judged=judged_on_record(recorded),
        apart=apart,
    )


def trials_on_record(state: RunState) -> dict[str, Mapping[int, dict[str, Json]]]:
    """Of each bench step, item or step within an item, the trials that ended, by number."""
    return {step.id: dict(step.trials) for step in _units(state) if step.trials}


def _units(state: RunState) -> Iterator[StepView]:
    todo: list[StepView] = [*state.steps.values()]
    while todo:
        step = todo.pop()
        todo += step.items.values()
        yield step


def judged_on_record(state: RunState) -> dict[str, BenchJudged]:
    """How each bench step whose trials all ended was judged."""
    return {step.id: step.judged for step in _units(state) if step.judged is not None}


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


def shared_profile(bound: BoundFlow, server: str, changes: Mapping[str, Json], said: str) -> str:
    """The profile of a flow's server with these keys beside, as a file that can be shared."""
    chosen, ref = bound.given.servers.get(server), bound.plan.servers[server]
    written = ref.profile.compiled.data if chosen is None else chosen
    own: dict[str, Json] = {}
    if isinstance(written, str):
        own["extends"] = written
    elif ref.profile.compiled.templates:
        own = bound.profiles[server].profile.model_dump(mode="json", exclude_unset=True)
    else:
        own = dict(written)
    head = {"version": 1, "name": f"{bound.plan.name}-best", "description": said}
    return to_yaml(head | {k: v for k, v in merge(own, dict(changes)).items() if k not in head})
