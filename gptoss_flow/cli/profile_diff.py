"""`gptoss-flow profile diff`: the keys in which two profiles differ, and whether one process could serve both."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import click

from gptoss_flow.app.profiles import find_profile
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option, offline_option
from gptoss_flow.escape import for_terminal
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.ui.profile_diff import difference_json, draw_difference


@click.command("diff", short_help="Print the keys in which two profiles differ.")
@click.argument("left", metavar="NAME|PATH|SOURCE", shell_complete=complete.profiles)
@click.argument("right", metavar="NAME|PATH|SOURCE", shell_complete=complete.profiles)
@offline_option
@json_option
def diff(left: str, right: str, offline: bool, as_json: bool) -> None:
    """Print the keys in which two profiles differ, both values, and where they come from.

    A load-time key needs another process; of a request-time key, one process serves both values. A profile that
    says first_of is several: each is compared.

    \b
    Examples:
      gptoss-flow profile diff gpt-oss-20b gpt-oss-20b-fast
      gptoss-flow profile diff local ./profiles/fast.yaml --json
    """
    sides = [_named(find_profile(ref, Path.cwd(), needs_model=False, offline=offline)) for ref in (left, right)]
    pairs = list(product(*sides))
    if as_json:
        compared = [{"left": a, "right": b, **difference_json(one, other)} for (a, one), (b, other) in pairs]
        click.echo(json.dumps(compared, indent=2))
    else:
        drawn = [f"{a} and {b}\n{draw_difference(one, other)}" for (a, one), (b, other) in pairs]
        click.echo(for_terminal("\n\n".join(drawn)))


def _named(resolved: ResolvedProfile) -> list[tuple[str, ResolvedProfile]]:
    """Each alternative with what to call it."""
    several = resolved.alternatives
    if len(several) == 1:
        return [(resolved.name, resolved)]
    return [(f"{resolved.name} (alternative {number})", each) for number, each in enumerate(several, 1)]
