"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gptoss_flow.cli import complete

F = TypeVar("F", bound=Callable[..., Any])

KEPT_LOGS = "docs/logs"
"""Where `--record` keeps logs of runs, by date."""

flow_argument = click.argument("flow", type=click.Path(path_type=str))
flow_arguments = click.argument(
    "flows", metavar="FLOW...", nargs=-1, required=True, type=click.Path(path_type=str)
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

offline_option = click.option("--offline", is_flag=True, help="Download nothing: what is in the cache has to do.")
locked_option = click.option(
    "--locked", is_flag=True, help="Refuse what differs from flow.lock, which `gptoss-flow lock` writes."
)

untrusted_option = click.option(
    "--untrusted-flow", "untrusted", is_flag=True,
    help="Refuse a flow that could do more than ask models: tools, files, variables, profiles of its own.",
)  # fmt: skip


unsandboxed_option = click.option(
    "--allow-unsandboxed", "unsandboxed", is_flag=True,
    help="Let tool code run without a sandbox where a step says `sandbox: dangerously_none`.",
)  # fmt: skip


def input_options(command: F) -> F:
    """`-i name=value` and `--inputs file`."""
    command = click.option(
        "-i", "--input", "given", metavar="NAME=VALUE", multiple=True, shell_complete=complete.inputs,
        help="An input. @FILE reads the value from a file, @- from standard input; @@x is a literal @x.",
    )(command)  # fmt: skip
    return click.option(
        "--inputs",
        "inputs_file",
        metavar="FILE",
        type=click.Path(path_type=str),
        help="A YAML or JSON file of inputs.",
    )(command)


def server_option(command: F) -> F:
    """`--server name=profile-or-url`."""
    return click.option(
        "--server", "servers", metavar="NAME=PROFILE", multiple=True, shell_complete=complete.server_profiles,
        help="Use another profile (a name, a path, or the URL of a running server) for one of the flow's servers.",
    )(command)  # fmt: skip
