"""`gptoss-flow diff`: compares two runs, step by step."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from gptoss_flow.app.runs import open_run
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.errors import ExitCode, Invalid, Problem
from gptoss_flow.record.compare import compare
from gptoss_flow.ui.run_diff import drawn


@click.command("diff")
@click.argument("first", metavar="RUN", shell_complete=complete.runs)
@click.argument("second", metavar="[RUN]", default="latest", shell_complete=complete.runs)
@click.option("--exit-code", is_flag=True, help="End with 6 where they differ.")
@json_option
def command(first: str, second: str, exit_code: bool, as_json: bool) -> int:
    """Compare two runs: what was given to them, what each step gave, and what decided that.

    A RUN is an id, the beginning of one, or `latest`, which the second one is by default. Times are no difference.

    \b
    Examples:
      gptoss-flow diff 20261105_1942
      gptoss-flow diff 20261105_1942 20261106 --exit-code
    """
    one, other = (open_run(Path.cwd(), run) for run in (first, second))
    if one.folder == other.folder:
        raise Invalid(Problem(None, f"both are run {one.folder.name}", "name another one: gptoss-flow ls"))
    difference = compare(one.state, other.state)
    if as_json:
        runs = {"first": one.folder.name, "second": other.folder.name, "same": not difference}
        click.echo(json.dumps(runs | {"differences": asdict(difference)}, indent=2, ensure_ascii=False))
    else:
        click.echo(drawn(one.folder.name, other.folder.name, difference), nl=False)
    return int(ExitCode.MISMATCH) if exit_code and difference else 0
