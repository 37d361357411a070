"""`gptoss-flow lock`: writes flow.lock beside flows, or says in what it is out of date."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.lock import Locked, lock_flow
from gptoss_flow.app.tool_servers import list_tools
from gptoss_flow.cli.options import flow_arguments, json_option, offline_option
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.escape import one_line
from gptoss_flow.words import count


@click.command("lock")
@flow_arguments
@click.option("--check", is_flag=True, help="Write nothing; exit code 2 if the lock is missing or out of date.")
@click.option(
    "--upgrade", is_flag=True, help="Take what branches, tags and web pages are now, not what is pinned."
)
@offline_option
@json_option
def command(flows: tuple[str, ...], check: bool, upgrade: bool, offline: bool, as_json: bool) -> None:
    """Write flow.lock beside FLOWS: what their profiles from elsewhere, their servers and their models are.

    A profile from elsewhere (git+https://host/repo@main#p.yaml, https://host/p.yaml) then stays what it is,
    whoever runs the flow, until --upgrade; so do the descriptions and arguments of the tools of its MCP servers,
    which are started to learn them; `gptoss-flow run --locked` refuses whatever else has changed. Put the
    file into version control.

    \b
    Examples:
      gptoss-flow lock flows/*.yaml
      gptoss-flow lock --upgrade flows/report.yaml
      gptoss-flow lock --check flows/report.yaml      in CI
    """
    if check and upgrade:
        raise click.UsageError("say --check or --upgrade, not both")
    fetch, cwd = SourceFetcher.here(offline=offline), Path.cwd()
    done: list[Locked] = []
    problems: list[Problem] = []
    for flow in flows:
        try:
            done.append(lock_flow(Path(flow), cwd, fetch, list_tools, upgrade=upgrade, check=check))
        except Invalid as error:
            problems += error.problems
    if as_json:
        click.echo(json.dumps([_as_json(locked) for locked in done], indent=2))
    else:
        for locked in done:
            for line in _lines(locked):
                click.echo(one_line(line))
    if problems:
        raise Invalid(*problems)


def _lines(locked: Locked) -> list[str]:
    after = locked.after
    holds = f"{count(len(after.sources), 'source')}, {count(len(after.servers), 'server')}"
    if after.tool_servers:
        holds += f", {count(len(after.tool_servers), 'tool server')}"
    what = "written" if locked.is_changed else "up to date"
    return [f"{locked.lock_path}: {what} for {locked.flow.name} ({holds})", *locked.changes]


def _as_json(locked: Locked) -> dict[str, object]:
    return {
        "flow": str(locked.flow),
        "lock": str(locked.lock_path),
        "changed": locked.is_changed,
        "changes": locked.changes,
        **locked.after.model_dump(mode="json", exclude_defaults=True),
    }
