"""`gptoss-flow model`: which models are on this machine, what they are, and fetching one."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from gptoss_flow import vocabulary
from gptoss_flow.app.model_files import (
    facts_json,
    known_models,
    look_at,
    model_json,
    pull_model,
    write_vocabulary,
)
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.escape import one_line
from gptoss_flow.server.model import Machine
from gptoss_flow.server.model_facts import facts_of
from gptoss_flow.ui.models import draw_facts, draw_models


@click.group("model")
def command() -> None:
    """List, fetch and look at model files in the GGUF format."""


@command.command("ls", short_help="List the models that are on this machine.")
@json_option
def ls(as_json: bool) -> None:
    """List the models that profiles name, that were downloaded, and gpt-oss in the usual places.

    CONTEXT: the tokens that it was trained for.
    """
    shown = [model_json(known) for known in known_models(Machine.here(), Path.cwd())]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    elif shown:
        click.echo(draw_models(shown))
    else:
        _say("no model is on this machine; fetch the small demo model with: gptoss-flow model pull demo")


@command.command("pull", short_help="Fetch a profile's model.")
@click.argument("profile", shell_complete=complete.profiles)
@click.option("--offline", is_flag=True, help="Download nothing: fail where the model is not here.")
@json_option
def pull(profile: str, offline: bool, as_json: bool) -> None:
    """Fetch the model of PROFILE (a name or a path) unless it is here, and print its path.

    \b
    Examples:
      gptoss-flow model pull demo
      gptoss-flow model info "$(gptoss-flow model pull demo)"
    """
    model = asyncio.run(pull_model(profile, Machine.here(), Path.cwd(), _say, offline=offline))
    click.echo(json.dumps(facts_json(model, facts_of(model)), indent=2) if as_json else str(model.path))


@command.command("info", short_help="Say what a model file is.")
@click.argument("model", metavar="PATH|PROFILE", shell_complete=complete.profiles)
@json_option
def info(model: str, as_json: bool) -> None:
    """Say what the GGUF file at PATH says of itself, or the one that PROFILE would take here.

    \b
    Examples:
      gptoss-flow model info ~/models/gpt-oss-20b-MXFP4.gguf
      gptoss-flow model info local --json
    """
    facts = facts_json(*look_at(model, Machine.here(), Path.cwd()))
    click.echo(json.dumps(facts, indent=2) if as_json else draw_facts(facts))


@command.command("vocabulary", short_help="Write gpt-oss's vocabulary out of a model file.")
@click.argument("model", metavar="PATH|PROFILE", shell_complete=complete.profiles)
@click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    default=vocabulary.FILE,
    help="The file to write.",
    show_default=True,
)
def write_table(model: str, to: Path) -> None:
    """Rebuild the table that openai-harmony needs from a gpt-oss model file, and print its path.

    This program brings its own copy. For others, name the file's folder in TIKTOKEN_ENCODINGS_BASE. What is
    written is checked: it is OpenAI's own table, byte for byte, or nothing.

    \b
    Examples:
      gptoss-flow model vocabulary gpt-oss
      gptoss-flow model vocabulary ~/models/gpt-oss-20b-MXFP4.gguf --to /tmp/o200k_base.tiktoken
    """
    write_vocabulary(model, to, Machine.here(), Path.cwd())
    click.echo(to)


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)
