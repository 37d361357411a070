"""`gptoss-flow plan`: the order, the servers, and what would run, without starting anything."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import click

from gptoss_flow.app.bind import Given, bind_flow
from gptoss_flow.app.check import check_flow
from gptoss_flow.cli import complete
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import (
    flow_argument,
    input_options,
    json_option,
    locked_option,
    offline_option,
    server_option,
)
from gptoss_flow.lang.profile import Profile
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.ui.graph.label import detail, every_step
from gptoss_flow.words import count

_Step = tuple[str, Node, list[str]]
"""A step's id in the run, the step, and those that it needs."""


@click.command("plan")
@flow_argument
@input_options
@server_option
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@locked_option
@offline_option
@click.option(
    "--set", "changes", metavar="PATH=VALUE", multiple=True,
    help="Change the flow before it is checked: steps.a.prompt.params.seed=3.",
)  # fmt: skip
@click.option(
    "--show", metavar="STEP", shell_complete=complete.steps, help="Print the prompt that STEP would send."
)
@click.option("--explain", is_flag=True, help="Say of each step whether it would run again, and why.")
@click.option(
    "--against", metavar="RUN", shell_complete=complete.runs,
    help="The run on record that --explain compares with, and --show takes results from. [default: the newest]",
)  # fmt: skip
@json_option
def command(
    flow: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    workspace: str | None,
    locked: bool,
    offline: bool,
    changes: tuple[str, ...],
    show: str | None,
    explain: bool,
    against: str | None,
    as_json: bool,
) -> None:
    """Show what running FLOW would do: the steps in order, what each waits for, the servers."""
    plan = check_flow(flow, offline=offline, locked=locked, changes=changes)
    what = read_given(plan, given, inputs_file, servers, workspace)
    if show is not None:
        from gptoss_flow.cli.plan_shown import shown

        click.echo(shown(plan, what, show, against, as_json=as_json))
        return
    if explain or against:
        # Only this needs what runs a flow.
        from gptoss_flow.cli.plan_explained import explained

        click.echo(explained(plan, what, against, as_json=as_json))
        return
    click.echo(described(plan, what, as_json=as_json))


def described(
    plan: Plan,
    given: Given,
    *,
    as_json: bool,
    select: Collection[str] | None = None,
    taken: Collection[str] = (),
) -> str:
    """The plan as JSON or for people: the steps in `select` (None: all), and of which the results are `taken`.

    Raises `Invalid` for what was given.
    """
    steps = [each for each in every_step(plan) if select is None or _outermost(each[0]) in select]
    if as_json:
        return json.dumps(_plan_json(plan, given, steps, taken), indent=2)
    return _described(plan, given, steps, taken)


def _outermost(step_id: str) -> str:
    return step_id.partition(".")[0]


def _plan_json(plan: Plan, given: Given, steps: Sequence[_Step], taken: Collection[str]) -> dict[str, Any]:
    """The plan as data, with the servers as this machine and these inputs resolve them."""
    bound = bind_flow(plan, given, {"id": "", "dir": "", "started_at": ""})
    return {
        "flow": plan.name,
        "servers": {
            name: {
                "profile": resolved.name,
                "alternatives": [alternative.name for alternative in resolved.alternatives],
                "slots": resolved.profile.parallel,
                "context_tokens": resolved.profile.context_per_slot,
            }
            for name, resolved in bound.profiles.items()
        },
        "steps": [
            {
                "id": step_id,
                "kind": node.step.kind,
                "needs": needs,
                "server": node.server,
                "tools": list(node.tools),
                "foreach": node.foreach is not None,
                "matrix": node.matrix is not None,
                "finally": node.final,
                "when": None if node.step.when is None else str(node.step.when),
                "place": str(node.mark),
                **({"reused": True} if _outermost(step_id) in taken else {}),
            }
            for step_id, node, needs in steps
        ],
    }


def _described(plan: Plan, given: Given, steps: Sequence[_Step], taken: Collection[str]) -> str:
    bound = bind_flow(plan, given, {"id": "", "dir": "", "started_at": ""})
    here = sum(step_id in plan.nodes for step_id, _, _ in steps)
    part = f"{here} of " if here < len(plan.nodes) else ""
    lines = [f"flow {plan.name}: {part}{count(len(plan.nodes), 'step')}"]
    for name, resolved in bound.profiles.items():
        profile = resolved.profile
        choice = ", else ".join(_source(alternative.profile) for alternative in resolved.alternatives)
        running = (each for each in steps if _outermost(each[0]) not in taken)
        users = ", ".join(step_id for step_id, node, _ in running if node.server == name)
        if not users:
            continue
        size = f"{profile.parallel} slots of {profile.context_per_slot} tokens"
        lines.append(f"server {name}: profile {resolved.name}, {size}, for {users}")
        lines.append(f"  model: {choice}")
    width = max(len(step_id) for step_id, _, _ in steps)
    details = max(len(detail(node)) for _, node, _ in steps)
    for number, (step_id, node, needs) in enumerate(steps, 1):
        after = f"after {', '.join(needs)}" if needs else ""
        if _outermost(step_id) in taken:
            after = "its result is on record"
        lines.append(f"{number:>3}. {step_id:<{width}}  {detail(node):<{details}}  {after}".rstrip())
    return "\n".join(lines)


def _source(profile: Profile) -> str:
    """Where the model comes from, in words."""
    model = profile.model
    if profile.url is not None:
        return f"whatever {profile.url} serves"
    if model.search is not None:
        return f"a {model.search} model that is on this machine"
    if model.built is not None:
        return f"{model.built}, which is assembled on this machine"
    if model.pypi is not None:
        return f"{Path(model.pypi).name} from the package {model.pypi.partition('/')[0]}"
    if model.dir is not None:
        return f"{model.file} in {model.dir}"
    return str(model.path)
