"""`gptoss-flow plan --show STEP`: the prompt that a step would send."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime

import click

from gptoss_flow.app.bind import Given, bind_flow
from gptoss_flow.app.known import finished_units
from gptoss_flow.app.resume import run_to_compare
from gptoss_flow.app.shown_prompt import show_prompt
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.plan.plan import Plan
from gptoss_flow.words import suggest


def shown(plan: Plan, given: Given, step: str, against: str | None, *, as_json: bool) -> str:
    """The text, or JSON; several items one below the other. Raises `FlowError` where there is no prompt."""
    root = step.partition("[")[0].partition(".")[0]
    if root not in plan.nodes:
        raise Invalid(Problem(None, f'--show {step}: the flow has no step "{root}"', suggest(root, plan.nodes)))
    found = run_to_compare(given.cwd, plan.name, against)
    finished = finished_units(found[1], found[0]) if found else {}
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    bound = bind_flow(plan, given, {"id": found[0] if found else "", "dir": "", "started_at": now})
    prompts = asyncio.run(show_prompt(bound, step, finished))
    if as_json:
        return json.dumps([asdict(prompt) for prompt in prompts], indent=2, ensure_ascii=False)
    if not all(prompt.exact for prompt in prompts):
        click.echo("the server lays its model's own chat template around these messages", err=True)
    if len(prompts) == 1:
        return prompts[0].text
    return "\n\n".join(f"--- {prompt.unit} ---\n{prompt.text}" for prompt in prompts)
