"""`gptoss-flow rm`: removes runs from the record."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from gptoss_flow.app.runs import older_runs, run_folder
from gptoss_flow.cli import complete
from gptoss_flow.errors import Invalid, RecordError
from gptoss_flow.escape import one_line
from gptoss_flow.fields import parse_duration
from gptoss_flow.record.index import is_running
from gptoss_flow.record.remove import remove_run, size_bytes
from gptoss_flow.words import count


def _age(_: click.Context, __: click.Parameter, given: str | None) -> float | None:
    try:
        return None if given is None else parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(f'"{given}" {error}') from None


@click.command("rm")
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete.runs)
@click.option(
    "--older-than", "older_than_s", metavar="AGE", callback=_age, help="Those that began so long ago: 7d, 12h."
)
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="All but the newest N.")
@click.option("--all", "is_all", is_flag=True, help="All.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def command(
    runs: tuple[str, ...], older_than_s: float | None, keep: int | None, is_all: bool, yes: bool
) -> int | None:
    """Remove runs from the record, and print their ids. A run that goes on stays.

    RUN is an id or the beginning of one, `latest`, or the path of a run's folder.

    \b
    Examples:
      gptoss-flow rm 20261105_194210
      gptoss-flow rm --older-than 7d --keep 20
    """
    is_rule = is_all or older_than_s is not None or keep is not None
    if bool(runs) == is_rule or (is_all and (older_than_s is not None or keep is not None)):
        raise click.UsageError("name runs, or say --all, or --older-than and --keep")
    if runs:
        folders = [*dict.fromkeys(run_folder(Path.cwd(), run) for run in runs)]
    else:
        found = older_runs(Path.cwd(), datetime.now(UTC), older_than_s=older_than_s, keep=keep)
        folders = [folder for folder in found if not is_running(folder)]
        if len(found) > len(folders):
            _say(f"{count(len(found) - len(folders), 'run')} still running: left alone")
    if not folders:
        _say("no run is to be removed")
        return None
    if not yes:
        _ask(folders)
    return _remove(folders)


def _ask(folders: Sequence[Path]) -> None:
    what = f"{count(len(folders), 'run')} ({sum(map(size_bytes, folders)) / 1e6:.1f} MB)"
    if not sys.stdin.isatty():
        raise Invalid(f"this would remove {what} for good; say --yes")
    click.confirm(f"Remove {what} for good?", abort=True, err=True)


def _remove(folders: Sequence[Path]) -> int:
    """Every one that can be; the exit code."""
    code = 0
    for folder in folders:
        try:
            remove_run(folder)
        except RecordError as error:
            _say(str(error))
            code = int(error.exit_code)
        else:
            click.echo(folder.name)
    return code


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)
