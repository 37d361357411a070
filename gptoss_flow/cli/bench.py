"""`gptoss-flow bench`: a flow's bench steps and what they need, or a quick sample of a server."""

from __future__ import annotations

from pathlib import Path

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.cli import complete
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import KEPT_LOGS, input_options, locked_option, server_option
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.escape import for_terminal
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.plan.selection import only
from gptoss_flow.words import suggest

KIND = "bench"


@click.command("bench")
@click.argument("what", metavar="FLOW|N", type=click.Path(path_type=str))
@input_options
@server_option
@click.option(
    "--step", "steps", metavar="STEP", multiple=True, shell_complete=complete.steps, help="This bench only."
)
@click.option(
    "--set", "changes", metavar="PATH=VALUE", multiple=True, help="Change the flow before it is checked."
)
@click.option("-f", "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("-o", "--out", metavar="FILE", help="Write the results there.")
@click.option("--save-baseline", is_flag=True, help="Write each bench's baseline, and hold nothing against it.")
@click.option("--record", is_flag=True, help="Keep a readable log of the run beside its record, by date.")
@click.option("--record-dir", metavar="DIR", help=f"The folder for that log. [default: {KEPT_LOGS}]")
@locked_option
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def command(
    what: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    steps: tuple[str, ...],
    changes: tuple[str, ...],
    form: str,
    out: str | None,
    save_baseline: bool,
    record: bool,
    record_dir: str | None,
    locked: bool,
    offline: bool,
    quiet: bool,
) -> int:
    """Run the bench steps of a FLOW, and what they need; print what was measured. Exit 5 when a gate says no.

    \b
    Examples:
      gptoss-flow bench flows/smoke-bench.yaml
      gptoss-flow bench flows/smoke-bench.yaml --save-baseline
    """
    plan = check_flow(what, offline=offline, locked=locked, changes=changes)
    wanted = _benches(plan, what, steps)
    from gptoss_flow.app.run import run_flow_sync
    from gptoss_flow.cli.run_checked import progress_of
    from gptoss_flow.ui.bench import FORMS, benches_of

    keep_in = record_dir or (KEPT_LOGS if record else None)
    asked = read_given(plan, given, inputs_file, servers, None)
    finished = run_flow_sync(
        plan,
        asked,
        views=[] if quiet else [progress_of(plan)],
        offline=offline,
        select=only(plan, wanted),
        said={"set": list(changes), "only": wanted},
        keep_in=None if keep_in is None else asked.cwd / keep_in,
        keep_baselines=save_baseline,
    )
    result = finished.result
    text = FORMS[form](benches_of(finished.state))
    if out is None:
        click.echo(for_terminal(text), nl=False)
    else:
        Path(out).write_text(text, encoding="utf-8")
    if quiet and result.error and result.bug is None:
        click.echo(for_terminal(result.error), err=True)
    if result.bug is not None:
        click.echo(f"the record of the run is {finished.folder}", err=True)
        raise result.bug
    return int(result.exit_code)


def _benches(plan: Plan, flow: str, steps: tuple[str, ...]) -> list[str]:
    """The steps that measure, or run a flow that does. Raises `Invalid`."""
    found = [node.id for node in plan.nodes.values() if _measures(node)]
    if not found:
        raise Invalid(Problem(None, f"{flow} has no bench step", "add one, or say how many requests: bench 10"))
    if unknown := [step for step in steps if step not in found]:
        raise Invalid(
            *(Problem(None, f"--step {each}: no such bench step", suggest(each, found)) for each in unknown)
        )
    return list(steps) or found


def _measures(node: Node) -> bool:
    kinds = [node.step.kind, *([node.fallback.step.kind] if node.fallback else [])]
    return KIND in kinds or (node.inner is not None and any(map(_measures, node.inner.nodes.values())))
