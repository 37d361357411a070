"""`gptoss-flow run`: checks a flow and what was given to it, runs it and prints its outputs."""

from __future__ import annotations

from pathlib import Path

import click

from gptoss_flow.app.bind import SCRIPTED
from gptoss_flow.app.check import check_flow
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import flow_argument, input_options, json_option, server_option
from gptoss_flow.cli.plan import describe_plan
from gptoss_flow.errors import Invalid


@click.command("run")
@flow_argument
@input_options
@server_option
@click.option("--model", metavar="scripted:FILE", help="Answer prompts from a file; no server is started.")
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("--dry-run", is_flag=True, help="Check everything that was given and show the plan; run nothing.")
@json_option
@click.option("--events", is_flag=True, help="Print one event a line as they happen.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-o", "--out", metavar="FILE", help="Write the outputs to a file.")
def command(
    flow: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    model: str | None,
    workspace: str | None,
    offline: bool,
    dry_run: bool,
    as_json: bool,
    events: bool,
    quiet: bool,
    out: str | None,
) -> int:
    """Run FLOW: its steps in their order, each on record; then print its outputs.

    \b
    Examples:
      gptoss-flow run flows/summarize-repo.yaml -i path=src
      git diff | gptoss-flow run flows/review-diff.yaml -i diff=@-
    """
    if model is not None and not model.startswith(SCRIPTED):
        raise click.BadParameter(f'"{model}" is not a model; write {SCRIPTED}FILE', param_hint="--model")
    if out is not None and not Path(out).parent.is_dir():
        raise Invalid(f"--out {out}: there is no folder {Path(out).parent}")
    plan = check_flow(flow)
    what = read_given(plan, given, inputs_file, servers, workspace)
    if dry_run:
        click.echo(describe_plan(plan, what))
        return 0
    # What runs a flow is loaded once the flow is known to be right: a mistake is told half a second sooner.
    from gptoss_flow.cli.run_checked import run_checked

    return run_checked(
        plan, what, model=model, offline=offline, as_json=as_json, events=events, quiet=quiet, out=out
    )
