"""What a run need not do again: finished units of the run that it resumes, and results kept by earlier runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_flow.events import Json, Outcome, Warned
from gptoss_flow.plan.plan import Node
from gptoss_flow.ports import Emit
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.results import ResultStore, StoredResult
from gptoss_flow.record.state import RunState, StepView
from gptoss_flow.run.key import changed_parts
from gptoss_flow.run.known import Key, Reused


@dataclass(frozen=True, slots=True)
class Finished:
    """A unit's end as it stands in a record. `key` is None where the record does not tell it."""

    outcome: Outcome
    key: Key | None
    run_id: str


@dataclass(kw_only=True)
class KnownResults:
    """`run.known.Known` over a record and a store. `clean` says whether a value holds no secret.

    A unit's result stands for one run of it: what comes to it again, in a further round or try of the flow that it
    is in, runs.
    """

    run_id: str
    finished: dict[str, Finished] = field(default_factory=dict)
    store: ResultStore | None = None
    """None: `--no-cache`."""
    clean: Callable[[Json], bool] = lambda value: True
    redo: Collection[str] = ()
    """Steps and units that are to run whatever is known."""
    on_change: Callable[[str, list[str]], None] = lambda unit_id, parts: None
    """Told of a finished unit that has to run again, and which parts of its key are not what they were."""

    def find(self, unit_id: str, node: Node, key: Key) -> Reused | None:
        before = self.finished.pop(unit_id, None)
        if before is not None:
            if before.key is None:
                if before.outcome.outcome == "succeeded" or node.step.on_error == "continue":
                    return Reused(before.outcome, before.run_id)
                return None
            once = node.effect == "once" or did_once(before.outcome.fields)
            if before.key == key and key and (node.step.cache is not False or once):
                return Reused(before.outcome, before.run_id)
            if parts := changed_parts(before.key, key):
                self.on_change(unit_id, parts)
        if self.store is not None and key and node.step.cache and not is_named(unit_id, self.redo):
            stored = self.store.get(key)
            if stored is not None:
                return Reused(Outcome("succeeded", stored.output, stored.fields), stored.run_id)
        return None

    def keep(self, unit_id: str, node: Node, key: Key, outcome: Outcome) -> None:
        if self.store is not None and key and node.step.cache and self.clean([outcome.output, outcome.fields]):
            self.store.put(key, StoredResult(outcome.output, outcome.fields, self.run_id))


def did_once(fields: Mapping[str, Json]) -> bool:
    """Whether a model called what is not to be done again, as a step's result tells."""
    calls = fields.get("tool_calls")
    return isinstance(calls, list) and any(isinstance(c, dict) and c.get("effect") == "once" for c in calls)


def is_named(unit_id: str, names: Iterable[str]) -> bool:
    """Whether a unit is one of these, or an item of, or within, one of these."""
    return any(unit_id == name or unit_id.startswith((f"{name}[", f"{name}.")) for name in names)


def units(state: RunState) -> Iterator[StepView]:
    """Every unit that a record speaks of: steps that are no fan-outs, and the items of those that are."""
    for step in state.steps.values():
        if step.item_count is None and not step.items:
            yield step
        else:
            yield from step.items.values()


def finished_units(state: RunState, run_id: str) -> dict[str, Finished]:
    """Those that succeeded, whole on record: a result from which a secret was taken is not."""
    return {unit.id: _finished(unit, run_id) for unit in units(state) if _is_whole(unit)}


def taken_results(state: RunState, steps: Iterable[str], run_id: str) -> dict[str, Finished]:
    """The same for steps whose results are to be taken as they are, whatever decided them then.

    Of a run that succeeded a failure is a result too: `on_error: continue` went on from it.
    """
    failures = state.status == "succeeded"
    return {
        unit.id: Finished(Outcome(unit.outcome, unit.output, unit.fields, unit.error), None, run_id)
        for unit in units_of(state, steps)
        if (unit.outcome == "succeeded" or (unit.outcome == "failed" and failures)) and not unit.redacted
    }


def units_of(state: RunState, steps: Iterable[str]) -> Iterator[StepView]:
    """The units of these steps, those within them too."""
    wanted = set(steps)
    return (unit for unit in units(state) if unit.id.partition("[")[0].partition(".")[0] in wanted)


def _is_whole(unit: StepView) -> bool:
    return unit.outcome == "succeeded" and not unit.redacted


def _finished(unit: StepView, run_id: str) -> Finished:
    # What was itself taken from an earlier run is told as that run's.
    return Finished(Outcome("succeeded", unit.output, unit.fields), unit.key, unit.reused or run_id)


def make_known(
    base: Path,
    finished: Mapping[str, Finished] | None = None,
    *,
    use_store: bool = True,
    redo: Collection[str] = (),
) -> Callable[[str, Redactor, Emit], KnownResults]:
    """`app.run.MakeKnown` for a run recorded below `base`: these units, and what earlier runs kept there."""

    def make(run_id: str, redactor: Redactor, emit: Emit) -> KnownResults:
        def changed(unit_id: str, parts: list[str]) -> None:
            emit(Warned(step=unit_id, message=f"runs again: {' and '.join(parts)} changed"))

        return KnownResults(
            run_id=run_id,
            finished=dict(finished or {}),
            store=ResultStore(base) if use_store else None,
            redo=redo,
            clean=lambda value: redactor.value(value) is value,
            on_change=changed,
        )

    return make
