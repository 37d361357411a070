"""`gptoss-flow show`: what became of a run, or of one of its steps."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from gptoss_flow.app.runs import open_run, run_json, step_json
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.ui.runs import draw_run, draw_step


@click.command("show")
@click.argument("run", default="latest", metavar="[RUN]", shell_complete=complete.runs)
@click.argument("step", required=False)
@json_option
def command(run: str, step: str | None, as_json: bool) -> None:
    """Show a run: its inputs, steps, servers, errors and outputs; or a STEP: its prompt, answer and calls.

    RUN is an id or the beginning of one, `latest` (the default), or the path of a run's folder. An item of a
    fan-out is a step too: `each[3]`.

    \b
    Examples:
      gptoss-flow show
      gptoss-flow show latest summary
      gptoss-flow show 20261105 'each[3]' --json
    """
    found = open_run(Path.cwd(), run)
    now = datetime.now(UTC)
    if step is None:
        shown = run_json(found)
        click.echo(json.dumps(shown, indent=2) if as_json else draw_run(shown, now))
    else:
        shown = step_json(found, step)
        click.echo(json.dumps(shown, indent=2) if as_json else draw_step(shown))
