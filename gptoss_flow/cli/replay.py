"""`gptoss-flow replay`: repeats a run from its record and holds the flow against it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import click

from gptoss_flow.app.replay_run import How, replay_run
from gptoss_flow.app.runs import run_folder
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.ui.progress import PlainProgress
from gptoss_flow.words import count


@click.command("replay")
@click.argument("run", metavar="[RUN]", default="latest", shell_complete=complete.runs)
@click.option(
    "--strict", "how", flag_value="strict", default="strict", help="No server: all must be on record. [default]"
)
@click.option("--lenient", "how", flag_value="lenient", help="Ask a live server for what is not on record.")
@click.option("--verify", "how", flag_value="verify", help="Ask live servers for all of it; compare every token.")
@click.option("--offline", is_flag=True, help="Download nothing.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def command(run: str, how: How, offline: bool, as_json: bool, quiet: bool) -> int:
    """Repeat RUN with the flow as it is now, its inputs and answers being those on record.

    RUN is an id, the beginning of one, or `latest` (the default). Tools are not called: what they gave is on
    record too. Exit code 6 where something is not as it was: the message names the step and the place.

    \b
    Examples:
      gptoss-flow replay
      gptoss-flow replay 20261105_1942 --verify
    """
    views = [] if quiet or how == "strict" else [PlainProgress(sys.stderr)]
    replay = asyncio.run(replay_run(run_folder(Path.cwd(), run), how, views=views, offline=offline))
    if as_json:
        said = {"run": replay.run_id, "how": how, "requests": replay.requests, "calls": replay.calls}
        said |= {"trials": replay.trials, "taken": replay.taken}
        click.echo(json.dumps(said | {"status": replay.result.status, "outputs": replay.result.outputs}, indent=2))
    else:
        counts = f"{count(replay.requests, 'request')} and {count(replay.calls, 'tool call')}"
        if replay.trials:
            counts += f", {count(replay.trials, 'trial')} of benches"
        came = "done" if how == "lenient" else f"{counts}: all as recorded"
        if replay.taken:
            came += f"; {count(replay.taken, 'result')} of other runs, or assumed, taken unchecked"
        click.echo(f"run {replay.run_id}: {came}")
    return 0
