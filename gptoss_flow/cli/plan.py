"""`gptoss-flow plan`: the order, the servers, and what would run, without starting anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from gptoss_flow.app.bind import Given, bind_flow
from gptoss_flow.app.check import check_flow
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import flow_argument, input_options, json_option, server_option
from gptoss_flow.lang.profile import Profile
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail
from gptoss_flow.words import count


@click.command("plan")
@flow_argument
@input_options
@server_option
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@json_option
def command(
    flow: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    workspace: str | None,
    as_json: bool,
) -> None:
    """Show what running FLOW would do: the steps in order, what each waits for, the servers."""
    plan = check_flow(flow)
    what = read_given(plan, given, inputs_file, servers, workspace)
    click.echo(json.dumps(plan_json(plan, what), indent=2) if as_json else describe_plan(plan, what))


def plan_json(plan: Plan, given: Given) -> dict[str, Any]:
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
                "id": node.id,
                "kind": node.step.kind,
                "needs": [need.step for need in node.needs],
                "server": node.server,
                "foreach": node.foreach is not None,
                "when": None if node.step.when is None else str(node.step.when),
                "place": str(node.mark),
            }
            for node in plan.nodes.values()
        ],
    }


def describe_plan(plan: Plan, given: Given) -> str:
    """The plan as text for people."""
    bound = bind_flow(plan, given, {"id": "", "dir": "", "started_at": ""})
    lines = [f"flow {plan.name}: {count(len(plan.nodes), 'step')}"]
    for name, resolved in bound.profiles.items():
        profile = resolved.profile
        choice = ", else ".join(_source(alternative.profile) for alternative in resolved.alternatives)
        users = ", ".join(node.id for node in plan.nodes.values() if node.server == name)
        size = f"{profile.parallel} slots of {profile.context_per_slot} tokens"
        lines.append(f"server {name}: profile {resolved.name}, {size}, for {users}")
        lines.append(f"  model: {choice}")
    width = max(len(node.id) for node in plan.nodes.values())
    details = max(len(detail(node)) for node in plan.nodes.values())
    for number, node in enumerate(plan.nodes.values(), 1):
        after = f"after {', '.join(need.step for need in node.needs)}" if node.needs else ""
        lines.append(f"{number:>3}. {node.id:<{width}}  {detail(node):<{details}}  {after}".rstrip())
    return "\n".join(lines)


def _source(profile: Profile) -> str:
    """Where the model comes from, in words."""
    model = profile.model
    if profile.url is not None:
        return f"whatever {profile.url} serves"
    if model.search is not None:
        return f"a {model.search} model that is on this machine"
    if model.pypi is not None:
        return f"{Path(model.pypi).name} from the package {model.pypi.partition('/')[0]}"
    if model.dir is not None:
        return f"{model.file} in {model.dir}"
    return str(model.path)
