"""`gptoss-flow resume`: goes on with a run that was interrupted or failed, in its own record."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.app.known import make_known
from gptoss_flow.app.record_bound import RecordBound
from gptoss_flow.app.resume import (
    Interrupted,
    changes_then,
    decided,
    ended_well,
    flow_to_resume,
    given_then,
    model_then,
    resumption,
    selected_then,
    take_up,
)
from gptoss_flow.app.runs import run_folder
from gptoss_flow.cli import complete
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import json_option, unsandboxed_option
from gptoss_flow.cli.otel import otel_options, otel_views
from gptoss_flow.cli.out import check_out
from gptoss_flow.cli.run_checked import run_checked, tell
from gptoss_flow.ui.events import EventLines


@click.command("resume")
@click.argument("run", metavar="[RUN]", default="latest", shell_complete=complete.runs)
@click.option("--redo", multiple=True, metavar="STEP", help="Run this step again, finished or interrupted.")
@click.option(
    "--assume-done", multiple=True, metavar="STEP",
    help="An interrupted step that is to be done once has happened: go on as if it had ended.",
)  # fmt: skip
@click.option(
    "-i", "--input", "inputs", metavar="NAME=VALUE", multiple=True,
    help="An input that held a secret, and so is not on record. @FILE and @- as in run.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Download nothing.")
@unsandboxed_option
@click.option("--no-cache", is_flag=True, help="Reuse no result of another run.")
@json_option
@click.option("--events", is_flag=True, help="Print one event a line as they happen.")
@otel_options
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-o", "--out", metavar="FILE", help="Write the outputs to a file.")
def command(
    run: str,
    redo: tuple[str, ...],
    assume_done: tuple[str, ...],
    inputs: tuple[str, ...],
    offline: bool,
    unsandboxed: bool,
    no_cache: bool,
    as_json: bool,
    events: bool,
    otel: bool,
    otel_content: bool,
    quiet: bool,
    out: str | None,
) -> int:
    """Go on with RUN: run what did not finish, and what depends on it.

    RUN is an id, the beginning of one, or `latest` (the default). Finished steps are not run again as long as what
    decided their results is as it was: the flow may have been mended meanwhile. A step whose effect is `once`, and
    that was interrupted, is never repeated silently: the command stops and asks for --redo or --assume-done.

    \b
    Examples:
      gptoss-flow resume
      gptoss-flow resume 20261105_1942 --redo summary
    """
    check_out(out)
    interrupted = take_up(run_folder(Path.cwd(), run))
    try:
        finished = ended_well(interrupted)
        if finished is not None and not redo:
            click.echo(f"run {interrupted.folder.run_id} has succeeded: nothing is left to do", err=True)
            tell(finished, EventLines(sys.stdout) if events else None, as_json=as_json, out=out)
            return 0
        return _go_on(
            interrupted,
            redo,
            assume_done,
            inputs,
            offline=offline,
            unsandboxed=unsandboxed,
            no_cache=no_cache,
            as_json=as_json,
            events=events,
            otel=otel,
            otel_content=otel_content,
            quiet=quiet,
            out=out,
        )
    finally:
        interrupted.folder.close()


def _go_on(
    interrupted: Interrupted,
    redo: tuple[str, ...],
    assume_done: tuple[str, ...],
    inputs: tuple[str, ...],
    *,
    offline: bool,
    unsandboxed: bool,
    no_cache: bool,
    as_json: bool,
    events: bool,
    otel: bool,
    otel_content: bool,
    quiet: bool,
    out: str | None,
) -> int:
    started = interrupted.started
    untrusted, servers = bool(started.given.get("untrusted")), started.given.get("servers")
    plan = check_flow(
        flow_to_resume(interrupted),
        Path(started.cwd),
        offline=offline,
        locked=bool(started.given.get("locked")),
        changes=changes_then(started),
        untrusted=untrusted,
        chosen=servers if isinstance(servers, dict) else (),
    )
    given = given_then(started, read_given(plan, inputs, None, (), None))
    finished = decided(interrupted, plan, redo, assume_done)
    return run_checked(
        plan,
        given,
        model=model_then(started),
        offline=offline,
        as_json=as_json,
        events=events,
        quiet=quiet,
        out=out,
        select=selected_then(plan, started),
        known=make_known(given.cwd, finished, use_store=not (no_cache or untrusted), redo=redo),
        resume=resumption(interrupted, redo, assume_done),
        watchers=[*otel_views(otel, otel_content, started), *([RecordBound()] if untrusted else [])],
        unsandboxed=unsandboxed,
        keep_baselines=started.given.get("save_baseline") is True,
    )
