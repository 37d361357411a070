"""`gptoss-flow graph`: draws a flow's graph."""

from __future__ import annotations

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.cli.options import flow_argument
from gptoss_flow.ui.graph import FORMATS


@click.command("graph")
@flow_argument
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
def command(flow: str, form: str) -> None:
    """Draw FLOW's graph on standard output."""
    click.echo(FORMATS[form](check_flow(flow)), nl=False)
