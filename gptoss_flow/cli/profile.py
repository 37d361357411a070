"""`gptoss-flow profile`: which server profiles there are, and what one of them says after merging."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gptoss_flow.app.profiles import find_profile, known_profiles
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option, offline_option
from gptoss_flow.cli.profile_check import check
from gptoss_flow.cli.profile_diff import diff
from gptoss_flow.escape import for_terminal
from gptoss_flow.lang.profiles import KnownProfile
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.profile import draw_profile, profile_json
from gptoss_flow.ui.table import table


@click.group("profile")
def command() -> None:
    """List, show, check and compare server profiles: YAML files that say how a llama.cpp server is to be run."""


command.add_command(check)
command.add_command(diff)


@command.command("ls")
@json_option
def ls(as_json: bool) -> None:
    """List the profiles that can be named here, each with its file.

    Looked for in profiles/ of the project, in the user's configuration folder, in installed packages, and among
    those that come with gptoss-flow; of two with one name the first is taken, the other is listed as hidden.
    """
    found = known_profiles(Path.cwd())
    if as_json:
        click.echo(json.dumps([_as_json(known) for known in found], indent=2))
    else:
        rows = [(known.name, known.owner, short_path(known.path), _about(known)) for known in found]
        click.echo(table(("NAME", "FROM", "WHERE", "DESCRIPTION"), rows))


def _about(known: KnownProfile) -> str:
    return f"hidden by {short_path(known.hidden_by)}" if known.hidden_by else known.description


def _as_json(known: KnownProfile) -> dict[str, str | None]:
    return {
        "name": known.name,
        "from": known.owner,
        "path": str(known.path),
        "description": known.description,
        "hidden_by": str(known.hidden_by) if known.hidden_by else None,
    }


@command.command("show", short_help="Print a merged profile, and where each value comes from.")
@click.argument("profile", metavar="NAME|PATH|SOURCE", shell_complete=complete.profiles)
@offline_option
@json_option
def show(profile: str, offline: bool, as_json: bool) -> None:
    """Print a profile as it is after merging, and beside each value the file and line that it comes from.

    A profile that says first_of is several: they are printed one after another. SOURCE is a profile elsewhere:
    git+https://host/repo@COMMIT#path/in/repo.yaml, or https://host/file.yaml#sha256=HASH.

    \b
    Examples:
      gptoss-flow profile show local
      gptoss-flow profile show ./profiles/fast.yaml --json
    """
    resolved = find_profile(profile, Path.cwd(), needs_model=False, offline=offline)
    if as_json:
        click.echo(json.dumps(profile_json(resolved), indent=2))
    else:
        click.echo(for_terminal(draw_profile(resolved)), nl=False)
