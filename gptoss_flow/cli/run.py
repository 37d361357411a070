"""`gptoss-flow run`: checks a flow and what was given to it, runs it and prints its outputs."""

from __future__ import annotations

from pathlib import Path

import click

from gptoss_flow.app.bind import SCRIPTED
from gptoss_flow.app.check import check_flow
from gptoss_flow.cli import complete
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import (
    KEPT_LOGS,
    flow_argument,
    input_options,
    json_option,
    locked_option,
    server_option,
    unsandboxed_option,
    untrusted_option,
)
from gptoss_flow.cli.otel import otel_options, otel_views
from gptoss_flow.cli.out import check_out
from gptoss_flow.cli.plan import described
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.plan.selection import selection, since


@click.command("run")
@flow_argument
@input_options
@server_option
@click.option("--model", metavar="scripted:FILE", help="Answer prompts from a file; no server is started.")
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@locked_option
@untrusted_option
@click.option("--offline", is_flag=True, help="Download nothing.")
@unsandboxed_option
@click.option("--dry-run", is_flag=True, help="Check everything that was given and show the plan; run nothing.")
@json_option
@click.option("--events", is_flag=True, help="Print one event a line as they happen.")
@click.option(
    "--set",
    "changes",
    metavar="PATH=VALUE",
    multiple=True,
    help="Change the flow before it is checked: steps.a.prompt.params.seed=3.",
)
@click.option(
    "--only",
    metavar="STEP",
    multiple=True,
    shell_complete=complete.steps,
    help="Run this step and what it needs; nothing else.",
)
@click.option(
    "--from",
    "start",
    metavar="STEP",
    multiple=True,
    shell_complete=complete.steps,
    help="Run this step and what depends on it; take the rest from an earlier run.",
)
@click.option(
    "--against",
    metavar="RUN",
    shell_complete=complete.runs,
    help="The earlier run for --from. [default: the newest of this flow]",
)
@click.option("--no-cache", is_flag=True, help="Reuse no result of another run.")
@click.option("--record", is_flag=True, help="Keep a readable log of the run beside its record, by date.")
@click.option(
    "--record-dir", metavar="DIR",
    help=f"The folder for that log; says --record too. [default: the flow's `record`, else {KEPT_LOGS}]",
)  # fmt: skip
@otel_options
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-o", "--out", metavar="FILE", help="Write the outputs to a file.")
def command(
    flow: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    model: str | None,
    workspace: str | None,
    locked: bool,
    untrusted: bool,
    offline: bool,
    unsandboxed: bool,
    dry_run: bool,
    as_json: bool,
    events: bool,
    changes: tuple[str, ...],
    only: tuple[str, ...],
    start: tuple[str, ...],
    against: str | None,
    no_cache: bool,
    record: bool,
    record_dir: str | None,
    otel: bool,
    otel_content: bool,
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
    check_out(out)
    if against is not None and not start:
        raise Invalid(Problem(None, f"--against {against} is for --from", "name the step to start from"))
    chosen = [name for name, given_as, _ in (text.partition("=") for text in servers) if given_as]
    plan = check_flow(flow, offline=offline, locked=locked, changes=changes, untrusted=untrusted, chosen=chosen)
    select = selection(plan, only, start)
    what = read_given(plan, given, inputs_file, servers, workspace)
    # What runs a flow is loaded once the flow is known to be right: a mistake is told half a second sooner.
    from gptoss_flow.app.known import make_known
    from gptoss_flow.app.record_bound import RecordBound
    from gptoss_flow.app.resume import earlier_results
    from gptoss_flow.cli.run_checked import run_checked
    from gptoss_flow.testing.scripted_model import read_script

    watchers = otel_views(otel, otel_content)
    if untrusted:
        watchers = [*watchers, RecordBound()]
    taken = (select or frozenset()) - since(plan, start) if start else ()
    finished = earlier_results(what.cwd, plan, against, taken) if taken else {}
    if dry_run:
        if model is not None:
            read_script(Path(model.removeprefix(SCRIPTED)))
        click.echo(described(plan, what, as_json=as_json, select=select, taken=taken))
        return 0
    of_flow = plan.loaded.flow.record if plan.loaded.flow else None
    keep_in = record_dir or (of_flow.dir if of_flow else KEPT_LOGS if record else None)
    return run_checked(
        plan,
        what,
        model=model,
        offline=offline,
        as_json=as_json,
        events=events,
        quiet=quiet,
        out=out,
        keep_in=keep_in,
        select=select,
        known=make_known(what.cwd, finished, use_store=not (no_cache or untrusted)),
        said={
            "set": list(changes),
            "only": list(only),
            "from": list(start),
            "against": against,
            "untrusted": untrusted,
            "locked": locked,
        },
        watchers=watchers,
        unsandboxed=unsandboxed,
    )
