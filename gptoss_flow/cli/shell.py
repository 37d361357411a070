"""Answers a shell that completes a command line, in so little time that it is not noticed.

To import a command takes longer than a user waits for a completion. So the shape of every command (its options,
their choices) is kept in the cache, and the answer comes from commands that have the shapes and do nothing.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stderr
from io import StringIO
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from gptoss_flow.cli import complete

PROGRAM = "gptoss-flow"
VARIABLE = "_GPTOSS_FLOW_COMPLETE"
"""The environment variable with which a shell's script asks."""

_BREAKS = "=:"
"""Where bash ends a word that for us goes on: it wants only what stands behind the last of them."""

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1" 2>/dev/null)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == dir ]]; then
            COMPREPLY=(); compopt -o dirnames
        elif [[ $type == file ]]; then
            COMPREPLY=(); compopt -o default
        elif [[ $type == plain ]]; then
            COMPREPLY+=("$value")
            [[ $value == *[=/,] ]] && compopt -o nospace
        fi
    done
    return 0
}
%(complete_func)s_setup() {
    complete -o nosort -F %(complete_func)s %(prog_name)s
}
%(complete_func)s_setup;
"""

_ZSH = """\
#compdef %(prog_name)s
# click's, but for words that go on (name=, folder/): no space is put behind these.

%(complete_func)s() {
    local -a response words_done described_done words_open described_open
    local type key descr
    (( ! $+commands[%(prog_name)s] )) && return 1

    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) %(complete_var)s=zsh_complete \
        %(prog_name)s)}")

    for type key descr in ${response}; do
        if [[ "$type" == "dir" ]]; then
            _path_files -/
        elif [[ "$type" == "file" ]]; then
            _path_files -f
        elif [[ "$key" == *[=/,] && "$descr" == "_" ]]; then
            words_open+=("$key")
        elif [[ "$key" == *[=/,] ]]; then
            described_open+=("$key":"$descr")
        elif [[ "$descr" == "_" ]]; then
            words_done+=("$key")
        else
            described_done+=("$key":"$descr")
        fi
    done

    (( $#described_open )) && _describe -V open described_open -U -S ''
    (( $#described_done )) && _describe -V unsorted described_done -U
    (( $#words_open )) && compadd -U -V open -S '' -a words_open
    (( $#words_done )) && compadd -U -V unsorted -a words_done
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class Bash(BashComplete):
    """click's, but for words with `=` or `:` in them: `-i name=value`, `--server main=demo`."""

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environb[b"COMP_LINE"][: int(os.environ["COMP_POINT"])].decode("utf-8", "replace")
        words = split_arg_string(line)[1:]
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        self._done = max(incomplete.rfind(sign) for sign in _BREAKS) + 1
        return words, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        value = item.value[self._done :] if item.type == "plain" else item.value
        return f"{item.type},{value}"


class Zsh(ZshComplete):
    """click's, with our script."""

    source_template = _ZSH


def know_shells() -> None:
    """Tell click of ours."""
    add_completion_class(Bash, "bash")
    add_completion_class(Zsh, "zsh")


def answer(root: click.Group) -> int:
    """Print what the shell asked for; the exit code. Whatever goes wrong, it is silent."""
    try:
        know_shells()
        with redirect_stderr(StringIO()):
            group = command_of(complete.kept("commands", lambda: shape_of(root)))
            return shell_complete(group, {}, PROGRAM, VARIABLE, os.environ[VARIABLE])
    except Exception:
        return 1
    finally:
        sys.stdout.flush()


def shape_of(command: click.Command) -> dict[str, Any]:
    """What completion has to know of a command, as JSON data."""
    context = click.Context(command)
    shape: dict[str, Any] = {
        "name": command.name,
        "help": command.get_short_help_str(),
        "params": [_shape_of_parameter(parameter) for parameter in command.get_params(context)],
    }
    if isinstance(command, click.Group):
        known = ((name, _loaded(command, context, name)) for name in command.list_commands(context))
        shape["commands"] = {name: shape_of(each) for name, each in known if each and not each.hidden}
    return shape


def _loaded(group: click.Group, context: click.Context, name: str) -> click.Command | None:
    try:
        return group.get_command(context, name)
    except Exception:  # one that is broken is no reason not to complete the others
        return None


def _shape_of_parameter(parameter: click.Parameter) -> dict[str, Any]:
    completer = getattr(parameter, "_custom_shell_complete", None)
    shape: dict[str, Any] = {
        "name": parameter.name,
        "nargs": parameter.nargs,
        "completer": completer.__name__ if completer else None,
        "choices": [str(choice) for choice in getattr(parameter.type, "choices", ())],
        "is_file": isinstance(parameter.type, click.Path | click.File),
    }
    if isinstance(parameter, click.Option):
        shape |= {
            "opts": [*parameter.opts],
            "off": [*parameter.secondary_opts],
            "is_flag": parameter.is_flag,
            "multiple": parameter.multiple,
            "hidden": parameter.hidden,
            "help": parameter.help,
        }
    return shape


class _Shaped(click.Command):
    """A command that does nothing."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without the option at the end whose value is being typed: for it, click forgets the arguments."""
        takes_value = {sign for each in self.params if not getattr(each, "is_flag", True) for sign in each.opts}
        return super().parse_args(ctx, args[:-1] if args and args[-1] in takes_value else args)


class _ShapedGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in their order, not click's


def command_of(shape: dict[str, Any]) -> click.Command:
    """A command of that shape, which does nothing."""
    params = [_parameter_of(each) for each in shape["params"]]
    common: dict[str, Any] = {"short_help": shape["help"], "params": params, "add_help_option": False}
    if "commands" not in shape:
        return _Shaped(shape["name"], **common)
    return _ShapedGroup(
        shape["name"], commands={name: command_of(each) for name, each in shape["commands"].items()}, **common
    )


def _parameter_of(shape: dict[str, Any]) -> click.Parameter:
    kind: Any = click.Choice(shape["choices"]) if shape["choices"] else click.Path() if shape["is_file"] else None
    common: dict[str, Any] = {
        "type": kind,
        "nargs": shape["nargs"],
        "shell_complete": getattr(complete, shape["completer"]) if shape["completer"] else None,
    }
    if "opts" not in shape:
        return click.Argument([shape["name"]], required=False, **common)
    flags = ["/".join(pair) for pair in zip(shape["opts"], shape["off"], strict=False)] or shape["opts"]
    if shape["is_flag"]:
        common = {"is_flag": True}
    known = {key: shape[key] for key in ("multiple", "hidden", "help")}
    return click.Option([shape["name"], *flags], **common, **known)
