"""`gptoss-flow profile check`: whether a profile is right, and can run on this machine."""

from __future__ import annotations

import asyncio
import json

import click

from gptoss_flow.app.profile_check import Finding, Site, check_profile
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option, offline_option
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.table import table


@click.command("check", short_help="Say whether a profile is right and can run here.")
@click.argument("profile", metavar="NAME|PATH|SOURCE|URL", shell_complete=complete.profiles)
@offline_option
@json_option
def check(profile: str, offline: bool, as_json: bool) -> int:
    """Hold a profile against this machine; nothing is started, no model is downloaded.

    Looked at are its keys, the engine and whether it can be told every key, the model, the memory for its weights,
    the context that it was trained for, the port, and the files that are named. Exit code 2: the profile is wrong;
    3: this machine lacks something.

    \b
    Examples:
      gptoss-flow profile check gpt-oss-20b-fast
      gptoss-flow profile check ./profiles/fast.yaml --json
    """
    found = asyncio.run(check_profile(profile, Site.here(), offline=offline))
    if as_json:
        listed = [_as_json(finding) for finding in found.findings]
        click.echo(json.dumps({"name": found.name, "ok": found.exit_code == 0, "findings": listed}, indent=2))
    else:
        click.echo(table(("RESULT", "CHECK", "FINDING"), [_row(finding) for finding in found.findings]))
    return int(found.exit_code)


def _row(finding: Finding) -> tuple[str, str, str]:
    said = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    mark = finding.mark
    place = f"{short_path(mark.source)}:{mark.line}:{mark.column}: " if mark else ""
    return "ok" if finding.is_ok else "problem", finding.check, place + said


def _as_json(finding: Finding) -> dict[str, object]:
    mark = finding.mark
    place = {"file": mark.source, "line": mark.line, "column": mark.column} if mark else {}
    return {
        "ok": finding.is_ok,
        "check": finding.check,
        "message": finding.message,
        "hint": finding.hint,
        "exit_code": int(finding.exit_code),
        **place,
    }
