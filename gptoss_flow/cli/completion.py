"""`gptoss-flow completion`: the script that makes a shell complete commands, options and their values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from gptoss_flow.cli.shell import PROGRAM, VARIABLE, know_shells

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    Examples:
      gptoss-flow completion bash > ~/.local/share/bash-completion/completions/gptoss-flow
      gptoss-flow completion zsh > ~/.zfunc/_gptoss-flow
      gptoss-flow completion fish > ~/.config/fish/completions/gptoss-flow.fish
    """
    know_shells()
    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(context.find_root().command, {}, PROGRAM, VARIABLE).source())
