"""`gptoss-flow init`: begins a project."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from gptoss_flow.app.origin import requirement
from gptoss_flow.app.scaffold import CI_FILE, Laid, begin_project
from gptoss_flow.cli.options import json_option
from gptoss_flow.escape import one_line


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace files that are there.")
@json_option
def command(folder: Path, force: bool, as_json: bool) -> None:
    """Begin a project in DIR (the current folder): a first flow, a profile, schemas for editors, a CI file.

    What is there already is left alone.

    \b
    Examples:
      gptoss-flow init
      gptoss-flow init reports && cd reports && gptoss-flow run flows/first.yaml
    """
    laid = begin_project(folder, force=force)
    if as_json:
        click.echo(json.dumps([{"path": str(each.path), "change": each.change} for each in laid], indent=2))
        return
    for each in laid:
        click.echo(one_line(f"{each.change}: {each.path}"))
    for line in _advice(folder, laid, force):
        click.echo(line, err=True)


def _advice(folder: Path, laid: list[Laid], force: bool) -> list[str]:
    lines = []
    if not force and any(each.change == "left alone" for each in laid):
        lines.append("what was there is left alone; --force replaces it")
    written = any(each.path == folder / CI_FILE and each.change != "left alone" for each in laid)
    if written and requirement("local") is None:
        lines.append(f"this program came from a folder of this machine: say in {CI_FILE} where CI is to find it")
    go = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    return [*lines, one_line(f"next: {go}gptoss-flow run flows/first.yaml")]
