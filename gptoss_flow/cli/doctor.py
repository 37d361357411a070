"""`gptoss-flow doctor`: whether this machine is ready."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from gptoss_flow.app.doctor import examine
from gptoss_flow.cli.options import json_option
from gptoss_flow.errors import ExitCode
from gptoss_flow.server.model import Machine
from gptoss_flow.ui.doctor import draw_checks


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Say whether this machine is ready to run flows: engine, models, memory, folders, and what to do about each.

    Exit code 3 where no flow could run. Nothing is downloaded or started.

    \b
    Examples:
      gptoss-flow doctor
      gptoss-flow doctor --json | jq '.[] | select(.level != "ok")'
    """
    checks = [asdict(check) for check in examine(Path.cwd(), Machine.here())]
    if as_json:
        click.echo(json.dumps(checks, indent=2, ensure_ascii=False))
    else:
        click.echo(draw_checks(checks, color=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return int(ExitCode.UNAVAILABLE if any(check["level"] == "fail" for check in checks) else ExitCode.OK)
