"""The runs on record: which there are, what became of one and of a step of it, and which to remove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gptoss_flow.errors import Invalid, Problem, RecordError
from gptoss_flow.events import (
    Event,
    GenerationFinished,
    Json,
    PromptRendered,
    StepRetried,
    ToolFinished,
    ToolStarted,
)
from gptoss_flow.record.folder import EVENTS, STATE_FOLDER, find_run, list_runs
from gptoss_flow.record.index import RunEntry, is_running, load_run, started_at
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.record.state import RunState, StepView, Tokens, in_order
from gptoss_flow.user_path import user_path
from gptoss_flow.words import suggest

LATEST = ("latest", "last")
"""Names of the newest run."""


@dataclass(frozen=True)
class Run:
    """A run read back from its record."""

    folder: Path
    state: RunState
    damage: JournalDamage
    is_running: bool

    @property
    def status(self) -> str:
        return self.state.status or ("running" if self.is_running else "unfinished")


def run_folder(base: Path, wanted: str) -> Path:
    """The folder of the run that is called so: its id, the beginning of one, `latest`, or the folder's path.

    Raises `RecordError`.
    """
    if "/" in wanted:
        folder = (base / user_path(wanted)).resolve()
        if not folder.is_dir():
            raise RecordError(f"there is no folder {wanted}")
        return folder
    if wanted not in LATEST:
        return find_run(base, wanted)
    if runs := list_runs(base):
        return runs[-1]
    said = f"no run is on record under {base / STATE_FOLDER}"
    raise RecordError(Problem(None, said, "run a flow here, or name the folder of a run"))


def open_run(base: Path, wanted: str) -> Run:
    """Raises `RecordError`."""
    folder = run_folder(base, wanted)
    state, damage = load_run(folder)
    return Run(folder, state, damage, is_running(folder))


def older_runs(base: Path, now: datetime, *, older_than_s: float | None, keep: int | None) -> Sequence[Path]:
    """The runs that began before that time and are not among the newest `keep`, oldest first."""
    runs = list_runs(base)
    if keep is not None:
        runs = runs[: max(0, len(runs) - keep)]
    if older_than_s is not None:
        until = now - timedelta(seconds=older_than_s)
        runs = [run for run in runs if started_at(run.name) < until]
    return runs


def entry_json(entry: RunEntry) -> dict[str, Json]:
    """What `ls --json` prints of a run."""
    return asdict(entry)


def run_json(run: Run) -> dict[str, Json]:
    """What `show --json` prints of a run."""
    started, finished = run.state.started, run.state.finished
    return {
        "id": started.run_id if started else run.folder.name,
        "dir": str(run.folder),
        "flow": started.flow if started else None,
        "flow_path": started.flow_path if started else None,
        "status": run.status,
        "exit_code": finished.exit_code if finished else None,
        "error": finished.error if finished else "",
        "started_at": started.started_at if started else None,
        "duration_s": run.state.took_s,
        "version": started.version if started else None,
        "inputs": started.inputs if started else {},
        "outputs": finished.outputs if finished else {},
        "tokens": asdict(run.state.tokens),
        "servers": {
            name: {"profile": profile, **_server_json(run, name)}
            for name, profile in (started.servers if started else {}).items()
        },
        "steps": [_view_json(step) for step in in_order(run.state.steps)],
        "warnings": [{"step": warned.step, "message": warned.message} for warned in run.state.warnings],
        "damage": _damage_json(run.damage),
    }


def _server_json(run: Run, name: str) -> dict[str, Json]:
    server = run.state.servers.get(name)
    if server is None:
        return {"state": None, "detail": "", "facts": {}}
    return {"state": server.state, "detail": server.detail, "facts": server.facts}


def _view_json(step: StepView) -> dict[str, Json]:
    return {
        "step": step.id,
        "kind": step.kind,
        "outcome": step.outcome,
        "reason": step.reason,
        "error": step.error,
        "duration_s": step.duration_s if step.outcome else None,
        "attempts": step.attempts,
        "items": step.item_count,
        "items_done": sum(item.outcome is not None for item in step.items.values()),
        "tool_calls": step.tool_calls + sum(item.tool_calls for item in step.items.values()),
        "refused_calls": step.refused_calls + sum(item.refused_calls for item in step.items.values()),
        "tokens": asdict(_tokens(step)),
        "reused": step.reused,
        "output": step.output,
    }


def _tokens(step: StepView) -> Tokens:
    """A fan-out's are those of its items."""
    views = [step, *step.items.values()]
    return Tokens(
        computed=sum(view.tokens.computed for view in views),
        reused=sum(view.tokens.reused for view in views),
        generated=sum(view.tokens.generated for view in views),
    )


def _damage_json(damage: JournalDamage) -> dict[str, Json]:
    return {
        "lines": damage.count,
        "first": [{"line": line.line, "kind": line.kind, "message": line.message} for line in damage.lines],
        "unknown_types": dict(damage.unknown_types),
        "unknown_keys": dict(damage.unknown_keys),
    }


def step_json(run: Run, wanted: str) -> dict[str, Json]:
    """What `show RUN STEP --json` prints: a step or an item (`each[3]`), with each question, answer and call.

    Raises `Invalid` where the run has none of that name.
    """
    views = {name: view for step in run.state.steps.values() for name, view in _named(step)}
    if wanted not in views:
        raise Invalid(Problem(None, f'the run {run.folder.name} has no step "{wanted}"', suggest(wanted, views)))
    view = views[wanted]
    turns: dict[tuple[int, int], dict[str, Json]] = {}
    calls: dict[str, dict[str, Json]] = {}
    for stamped in read_journal(run.folder / EVENTS):
        if getattr(stamped.event, "step", None) == wanted:
            _tell(stamped.event, turns, calls)
    return _view_json(view) | {
        "fields": view.fields,
        "generations": [turns[number] for number in sorted(turns)],
        "calls": list(calls.values()),
        "item_steps": [_view_json(view.items[index]) for index in sorted(view.items)],
    }


def _named(step: StepView) -> list[tuple[str, StepView]]:
    return [(step.id, step), *(pair for item in step.items.values() for pair in _named(item))]


def _tell(event: Event, turns: dict[tuple[int, int], dict[str, Json]], calls: dict[str, dict[str, Json]]) -> None:
    """Put what an event says of a step where it belongs."""

    def turn(number: int) -> dict[str, Json]:
        return turns.setdefault((attempt, number), {"attempt": attempt, "turn": number})

    attempt = getattr(event, "attempt", 1)
    match event:
        case PromptRendered():
            turn(event.turn).update(
                server=event.server,
                mode=event.mode,
                messages=event.messages,
                params=event.params,
                tools=[tool.get("name") for tool in event.tools],
                asks=event.asks,
                redacted=event.redacted,
            )
        case GenerationFinished():
            turn(event.turn).update(
                reasoning=event.reasoning,
                text=event.text,
                calls=event.calls,
                finish_reason=event.finish_reason,
                usage=event.usage,
                timings=event.timings,
            )
        case StepRetried():
            last = max((number for tried, number in turns if tried == attempt), default=1)
            turn(last)["error"] = event.error
        case ToolStarted():
            calls[event.call_id] = {
                "call_id": event.call_id,
                "tool": event.tool,
                "arguments": event.arguments,
                "permission": event.permission,
                "written": event.written,
            }
        case ToolFinished():
            calls.setdefault(event.call_id, {"call_id": event.call_id, "tool": event.tool}).update(
                result=event.result, error=event.error, duration_s=event.duration_s
            )
        case _:
            pass
