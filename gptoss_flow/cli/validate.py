"""`gptoss-flow validate`: every problem of flow files, without starting anything."""

from __future__ import annotations

import json

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.cli.options import flow_arguments, json_option, locked_option, offline_option, untrusted_option
from gptoss_flow.errors import Invalid, Problem
from gptoss_flow.words import count


@click.command("validate")
@flow_arguments
@locked_option
@offline_option
@untrusted_option
@json_option
def command(flows: tuple[str, ...], locked: bool, offline: bool, untrusted: bool, as_json: bool) -> None:
    """Check FLOWS: every problem is listed, in file order, with its place. Exit code 2 if there is one."""
    problems: list[Problem] = []
    for flow in flows:
        try:
            plan = check_flow(flow, offline=offline, locked=locked, untrusted=untrusted)
        except Invalid as error:
            problems += error.problems
        else:
            if not as_json:
                click.echo(f"{flow}: ok ({count(len(plan.nodes), 'step')})")
    if as_json:
        click.echo(json.dumps([_as_json(problem) for problem in problems], indent=2, ensure_ascii=False))
        raise click.exceptions.Exit(Invalid.exit_code if problems else 0)
    if problems:
        raise Invalid(*problems)


def _as_json(problem: Problem) -> dict[str, object]:
    mark = problem.mark
    place = {"file": mark.source, "line": mark.line, "column": mark.column} if mark else {}
    return {**place, "message": problem.message, "hint": problem.hint}
