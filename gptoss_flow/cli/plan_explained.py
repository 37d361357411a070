"""`gptoss-flow plan --explain`: what of a run on record would be run again."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

from gptoss_flow.app.bind import Given, bind_flow
from gptoss_flow.app.explain import explain
from gptoss_flow.app.resume import run_to_compare
from gptoss_flow.errors import Problem, RecordError
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.table import table

WORDS = {"run": "would run", "reuse": "would not run", "skip": "would be skipped"}


def explained(plan: Plan, given: Given, against: str | None, *, as_json: bool) -> str:
    """A table, or JSON. Raises `RecordError` where there is no run to compare with."""
    found = run_to_compare(given.cwd, plan.name, against)
    if found is None:
        raise RecordError(Problem(None, f"no run of {plan.name} is on record here", "run it once"))
    run_id, state = found
    started = state.started
    run = {"id": run_id, "dir": "", "started_at": started.started_at if started else ""}
    bound = bind_flow(plan, given, run)
    units = asyncio.run(explain(bound, state, run_id))
    if as_json:
        return json.dumps({"against": run_id, "steps": [asdict(unit) for unit in units]}, indent=2)
    rows = [(unit.unit, WORDS[unit.verdict], unit.why) for unit in units]
    return f"against run {run_id}\n{table(('STEP', 'VERDICT', 'WHY'), rows)}"
