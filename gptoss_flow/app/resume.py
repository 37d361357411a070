"""Takes up a run that ended early: what is finished, what may run again, what only the user can decide."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gptoss_flow import __version__
from gptoss_flow.app.bind import SCRIPTED, Given
from gptoss_flow.app.finished import Finished as FinishedRun
from gptoss_flow.app.kept_files import FLOW, keep_outputs
from gptoss_flow.app.known import Finished, did_once, is_named, taken_results, units_of
from gptoss_flow.app.once import OnceSteps
from gptoss_flow.app.run import Resumption
from gptoss_flow.app.runs import run_folder
from gptoss_flow.errors import ExitCode, Invalid, Problem, RecordError
from gptoss_flow.events import Event, Json, Outcome, RunResumed, RunStarted, StepFinished, StepStarted
from gptoss_flow.plan.plan import Plan
from gptoss_flow.plan.selection import selection
from gptoss_flow.record.folder import EVENTS, RunFolder, list_runs
from gptoss_flow.record.index import load_run
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.record.remove import is_run_folder
from gptoss_flow.record.state import RunState
from gptoss_flow.run.ends import RunResult
from gptoss_flow.tools.ui_pane.panes import Panes
from gptoss_flow.ui.panes import Screen, left_by
from gptoss_flow.ui.paths import short_path
from gptoss_flow.words import suggest

_WITHOUT_SECRET = re.compile(r"\[redacted:\w+\]")


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    """A run's record as it was found. The folder is locked: nobody else goes on with it."""

    folder: RunFolder
    started: RunStarted
    state: RunState
    next_seq: int
    finished: dict[str, Finished]
    once: OnceSteps
    damage: JournalDamage
    panes: Panes
    """As the steps that ended well left them: those that run again make theirs anew."""


def take_up(path: Path) -> Interrupted:
    """Lock the folder of a run and read its record. Raises `RecordError`, also where another process writes it."""
    if not is_run_folder(path):
        raise RecordError(f"{path} is not the folder of a run")
    folder = RunFolder(path)
    try:
        return _read(folder)
    except BaseException:
        folder.close()
        raise


def _read(folder: RunFolder) -> Interrupted:
    state, once, damage, last = RunState(), OnceSteps(), JournalDamage(), 0
    finished: dict[str, Finished] = {}
    screen = Screen()
    journal = folder.path / EVENTS
    for stamped in read_journal(journal, damage) if journal.exists() else ():
        state.apply(stamped)
        once.take(stamped)
        screen.apply(stamped.event, stamped.time)
        _follow(finished, stamped.event, folder.run_id)
        last = max(last, stamped.seq)
    if state.started is None:
        hint = "nothing of it has happened: start the flow anew"
        raise RecordError(Problem(None, f"the record of run {folder.run_id} has no beginning", hint))
    return Interrupted(
        folder=folder,
        started=state.started,
        state=state,
        next_seq=last + 1,
        finished=finished,
        once=once,
        damage=damage,
        panes=left_by(screen.changes, finished),
    )


def _follow(finished: dict[str, Finished], event: Event, run_id: str) -> None:
    """Keep the units whose last run ended well. That a fan-out began anew says nothing yet of its items."""
    match event:
        case StepStarted(step=unit, items=None):
            finished.pop(unit, None)
        case StepFinished(step=unit, items=None, outcome="succeeded", redacted=False):
            end = Outcome("succeeded", event.output, event.fields)
            finished[unit] = Finished(end, event.key, event.reused or run_id)
        case _:
            pass


def ended_well(interrupted: Interrupted) -> FinishedRun | None:
    """A run that has nothing left to be done, as its record has it."""
    end = interrupted.state.finished
    if end is None or end.status != "succeeded":
        return None
    keep_outputs(interrupted.folder.path, end.outputs)  # which a full disk may have prevented
    result = RunResult(end.status, ExitCode.OK, end.outputs)
    return FinishedRun(result=result, state=interrupted.state, folder=interrupted.folder.path)


def decided(
    interrupted: Interrupted, plan: Plan, redo: Collection[str], assume_done: Collection[str]
) -> dict[str, Finished]:
    """The units that need not run again, once the user has decided on those that nobody else can.

    `redo` and `assume_done` name units (`send[2]`) or whole steps. Raises `Invalid` for one that is left open, and
    for a name that the record does not have, or of which there is nothing to decide.
    """
    once, run_id = interrupted.once, interrupted.folder.run_id
    torn = sum(line.kind == "torn" for line in interrupted.damage.lines)  # what it was to say has not begun
    undecided = once.undecided(plan, damaged=interrupted.damage.count > torn)
    problems = [*_unknown_names(interrupted.state, redo, assume_done)]
    problems += [
        Problem(
            None,
            f"--assume-done {name}: it was not interrupted, or what it does may be done again",
            "resume the run without that",
        )
        for name in assume_done
        if name in _names(interrupted.state) and not any(is_named(unit, [name]) for unit in undecided)
    ]
    for unit, said in undecided.items():
        wants = is_named(unit, redo), is_named(unit, assume_done)
        if all(wants):
            problems.append(
                Problem(None, f"step {unit} is to be redone, and assumed to be done", "say one of them")
            )
        elif not any(wants):
            hint = f"see whether it happened, then say --redo {unit} or --assume-done {unit}"
            problems.append(Problem(None, f"step {unit} {said}", hint))
    if problems:
        raise Invalid(*problems)
    ends = {unit: Outcome("succeeded") for unit in undecided} | once.happened
    done = {unit: Finished(outcome, None, run_id) for unit, outcome in ends.items()}
    return {unit: end for unit, end in (interrupted.finished | done).items() if not is_named(unit, redo)}


def _unknown_names(state: RunState, redo: Collection[str], assume_done: Collection[str]) -> Iterator[Problem]:
    known = _names(state)
    for option, names in (("--redo", redo), ("--assume-done", assume_done)):
        for name in names:
            if name not in known:
                yield Problem(None, f'{option} {name}: the run has no step "{name}"', suggest(name, known))


def _names(state: RunState) -> list[str]:
    return [*state.steps, *(item.id for step in state.steps.values() for item in step.items.values())]


def given_then(started: RunStarted, again: Given | None = None) -> Given:
    """What the user gave to a run, to be given to it again. `again`: the inputs that its record could not keep.

    Raises `Invalid` where such an input is missing, and where another one is given.
    """
    lost = lost_inputs(started)
    given = again.inputs if again else {}
    faults = again.faults if again else {}
    problems = [
        Problem(None, f"-i {name}: it is on record, and a resumed run keeps its inputs", "start the flow anew")
        for name in given
        if name not in lost
    ]
    problems += [
        Problem(None, f"the input {name} is not on record: it held a secret", f"give it again: -i {name}=…")
        for name in lost
        if again is not None and name not in given and name not in faults
    ]
    for name in ("set", "servers", "workspace", "model", "record"):
        if _is_lost(started, started.given.get(name)):
            said = f"what --{name.removesuffix('s') if name == 'servers' else name} said is not on record"
            problems.append(Problem(None, f"{said}: it held a secret", "start the flow anew"))
    if problems:
        raise Invalid(*problems)
    workspace = started.given.get("workspace")
    servers = started.given.get("servers")
    of_user = started.given.get("inputs")
    return Given(
        inputs={**started.inputs, **given},
        servers=servers if isinstance(servers, dict) else {},
        cwd=Path(started.cwd),
        workspace=Path(workspace) if isinstance(workspace, str) else None,
        faults=faults,
        defaulted=frozenset(started.inputs) - frozenset(of_user) if isinstance(of_user, list) else frozenset(),
    )


def lost_inputs(started: RunStarted) -> list[str]:
    """The inputs that the record does not have whole, because a secret was taken out of them."""
    return [name for name, value in started.inputs.items() if _is_lost(started, value)]


def _is_lost(started: RunStarted, value: Json) -> bool:
    return started.redacted and _WITHOUT_SECRET.search(json.dumps(value)) is not None


def model_then(started: RunStarted) -> str | None:
    """The scripted model that answered, its file found from wherever the run is taken up."""
    model = started.given.get("model")
    return f"{SCRIPTED}{Path(started.cwd) / model.removeprefix(SCRIPTED)}" if isinstance(model, str) else None


def log_then(started: RunStarted) -> Path | None:
    """The log by date that was kept too (`--record`)."""
    path = started.given.get("record")
    return Path(path) if isinstance(path, str) else None


def flow_to_resume(interrupted: Interrupted) -> Path:
    """The flow's file as it is now. Raises `Invalid` where there is none, and says where it lies as it was run."""
    path = flow_then(interrupted.started)
    if not path.exists():
        kept = short_path(str(interrupted.folder.path / FLOW))
        raise Invalid(Problem(None, f"the flow {path} is gone", f"as it was run it is kept in {kept}"))
    return path


def flow_then(started: RunStarted) -> Path:
    """The flow's file, as the user called it where they still are where they were."""
    return Path(started.flow_path) if Path(started.cwd) == Path.cwd() else Path(started.cwd) / started.flow_path


def changes_then(started: RunStarted) -> list[str]:
    """The changes to the flow that the user asked for (`--set`)."""
    return _texts(started, "set")


def selected_then(plan: Plan, started: RunStarted) -> frozenset[str] | None:
    """The steps that were to run (`--only`, `--from`); None: all."""
    return selection(plan, _texts(started, "only"), _texts(started, "from"))


def _texts(started: RunStarted, name: str) -> list[str]:
    given = started.given.get(name)
    return [str(text) for text in given] if isinstance(given, list) else []


def resumption(interrupted: Interrupted, redo: Collection[str], assume_done: Collection[str]) -> Resumption:
    """The same run, its record continued."""
    started = interrupted.started
    run = {"id": started.run_id, "dir": str(interrupted.folder.path), "started_at": started.started_at}
    resumed_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    event = RunResumed(
        version=__version__, resumed_at=resumed_at, redo=sorted(redo), assume_done=sorted(assume_done)
    )
    return Resumption(
        folder=interrupted.folder,
        run=run,
        first_seq=interrupted.next_seq,
        event=event,
        state=interrupted.state,
        damaged_lines=interrupted.damage.count,
        life=interrupted.state.resumed + 1,
        kept_log=log_then(started),
        panes=interrupted.panes,
    )


def run_to_compare(base: Path, flow: str, against: str | None) -> tuple[str, RunState] | None:
    """The id and the fold of `against`, else of the newest run of this flow. Raises `RecordError`."""
    if against is not None:
        folder = run_folder(base, against)
        return folder.name, load_run(folder)[0]
    return next(_runs_of(base, flow), None)


def earlier_results(base: Path, plan: Plan, against: str | None, steps: Collection[str]) -> dict[str, Finished]:
    """These steps' results as a run on record has them: `against`, else the newest of this flow that does.

    Raises `RecordError` where there is none, where a step did not succeed in it, and where one is not to be done
    twice whose result was lost to a secret.
    """
    if against is not None:
        folder = run_folder(base, against)
        state, _ = load_run(folder)
        if missing := _missing(state, steps):
            said = f"step {missing[0]} has no result in run {folder.name}"
            raise RecordError(Problem(None, said, "name a run in which it succeeded with --against"))
        return _taken(plan, state, steps, folder.name)
    flow = plan.name
    for run_id, state in _runs_of(base, flow):
        if not _missing(state, steps):
            return _taken(plan, state, steps, run_id)
    hint = "run the whole flow once, or name a run with --against"
    raise RecordError(
        Problem(None, f"no run of {flow} on record has the results of {', '.join(sorted(steps))}", hint)
    )


def _taken(plan: Plan, state: RunState, steps: Collection[str], run_id: str) -> dict[str, Finished]:
    """A step from whose result a secret was taken runs again, unless it is not to be done twice."""
    for unit in units_of(state, steps):
        node = plan.unit_node(unit.id)
        once = did_once(unit.fields) or (node is not None and node.effect == "once")
        if once and unit.redacted and unit.outcome == "succeeded":
            said = f"a secret was taken out of the result of step {unit.id} in run {run_id}"
            said += ", and what it does is to be done once"
            hint = f"say --from {unit.id.partition('[')[0].partition('.')[0]} too, to do it again"
            raise RecordError(Problem(None, said, hint))
    return taken_results(state, steps, run_id)


def _runs_of(base: Path, flow: str) -> Iterator[tuple[str, RunState]]:
    """The runs of a flow, the newest first."""
    for folder in reversed(list_runs(base)):
        with suppress(RecordError):  # a record that can't be read is none to take anything from
            state, _ = load_run(folder)
            if state.started is not None and state.started.flow == flow:
                yield folder.name, state


def _missing(state: RunState, steps: Collection[str]) -> list[str]:
    """Those of which the run does not say what became of them; a failure that it went on from is an end too."""
    ends = {"succeeded", "skipped", "failed"} if state.status == "succeeded" else {"succeeded"}
    return [step for step in steps if step not in state.steps or state.steps[step].outcome not in ends]
