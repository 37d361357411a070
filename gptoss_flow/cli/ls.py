"""`gptoss-flow ls`: the runs on record in this folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

from gptoss_flow.app.runs import entry_json
from gptoss_flow.cli.options import json_option
from gptoss_flow.events import RunStatus
from gptoss_flow.record.index import list_entries
from gptoss_flow.ui.runs import draw_runs

STATUSES = [*get_args(RunStatus), "running", "unfinished", "unreadable"]


@click.command("ls")
@click.option("-n", "--number", type=click.IntRange(min=1), metavar="N", help="Show the newest N. [default: all]")
@click.option("--flow", metavar="NAME", help="Show the runs of this flow.")
@click.option("--status", type=click.Choice(STATUSES), help="Show the runs that ended so, or did not.")
@click.option("-q", "--quiet", is_flag=True, help="Print their ids alone.")
@json_option
def command(number: int | None, flow: str | None, status: str | None, quiet: bool, as_json: bool) -> None:
    """List the runs that are on record in this folder, the newest first.

    `unfinished` is a run whose record ends early: its process was killed.

    \b
    Examples:
      gptoss-flow ls -n 5
      gptoss-flow ls --status failed -q | xargs gptoss-flow rm --yes
    """
    entries = [
        entry
        for entry in list_entries(Path.cwd())
        if (flow is None or entry.flow == flow) and (status is None or entry.status == status)
    ][:number]
    shown = [entry_json(entry) for entry in entries]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    elif quiet:
        click.echo("".join(f"{entry.id}\n" for entry in entries), nl=False)
    elif shown:
        click.echo(draw_runs(shown, datetime.now(UTC)))
    else:
        click.echo("no such run is on record in this folder", err=True)
