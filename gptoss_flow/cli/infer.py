"""`gptoss-flow infer`: one question to a model, as a flow of one step."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

import click

from gptoss_flow.app.bind import SCRIPTED
from gptoss_flow.app.finished import Finished
from gptoss_flow.app.infer import OWN_TOOLS, STEP, Question, infer, names_tools
from gptoss_flow.app.query import given_url
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import KEPT_LOGS, json_option, unsandboxed_option
from gptoss_flow.cli.prompt_text import read_prompt
from gptoss_flow.escape import for_terminal
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.record.state import summary
from gptoss_flow.ui.answer import AnswerWriter
from gptoss_flow.ui.answer_view import AnswerView
from gptoss_flow.ui.ask import terminal_ask

DEFAULT_PROFILE = "local"
NO_NAMES = ","
"""What `--tools` is where no names follow it."""
RESULT_FIELDS = ("reasoning", "tool_calls", "finish_reason", "usage", "timings")
"""What `--json` prints of the answer beside its text."""


@click.command("infer")
@click.argument("prompt", required=False, envvar="GPT_OSS_PROMPT")
@click.option(
    "--profile", metavar="NAME", shell_complete=complete.profiles,
    help=f"Whose model to ask: a profile's name or path, see `profile ls`. [default: {DEFAULT_PROFILE}]",
)  # fmt: skip
@click.option("--url", metavar="URL", help="Ask a server that runs already, at this address.")
@click.option("--model", metavar="ID", help=f"What the server at --url calls its model, or {SCRIPTED}FILE.")
@click.option("--raw", "is_raw", is_flag=True, help="Let the model go on from the text as it is: no roles.")
@click.option("--system", metavar="TEXT", help="The instructions.")
@click.option("--reasoning", type=click.Choice(["low", "medium", "high"]), help="How long a gpt-oss model thinks.")
@click.option(
    "-n", "--max-tokens", type=click.IntRange(min=1), envvar="GPT_OSS_MAX_TOKENS", show_envvar=True,
    help="How many tokens at most. [default: the profile's, else 512]",
)  # fmt: skip
@click.option(
    "--temperature", type=click.FloatRange(0, 5), envvar="GPT_OSS_TEMPERATURE", show_envvar=True,
    help="0 always takes the likeliest token. [default: the profile's, else the server's]",
)  # fmt: skip
@click.option(
    "--tools", metavar="[NAMES]", is_flag=False, flag_value=NO_NAMES, shell_complete=complete.tools,
    help="What the model may call, with commas between: read_file,list_files. Without names: "
    f"{','.join(OWN_TOOLS)}.",
)  # fmt: skip
@click.option("--max-turns", type=click.IntRange(min=1), help="How often it may speak, with tools. [default: 8]")
@click.option(
    "--schema", metavar="FILE", help="A JSON Schema (JSON or YAML) that the answer must follow; it is then JSON."
)
@unsandboxed_option
@click.option("--stream/--no-stream", default=True, help="Show the answer as it arrives, or all at once.")
@json_option
@click.option("--record", is_flag=True, help="Keep the run on record, and a log of it by date.")
@click.option(
    "--record-dir", metavar="DIR", help=f"The folder for that log; says --record too. [default: {KEPT_LOGS}]"
)
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Show nothing but the answer and errors.")
@click.option("--backend", type=click.Choice(["gpt-oss"]), hidden=True)
def command(
    prompt: str | None,
    profile: str | None,
    url: str | None,
    model: str | None,
    is_raw: bool,
    system: str | None,
    reasoning: Literal["low", "medium", "high"] | None,
    max_tokens: int | None,
    temperature: float | None,
    tools: str | None,
    max_turns: int | None,
    schema: str | None,
    unsandboxed: bool,
    stream: bool,
    as_json: bool,
    record: bool,
    record_dir: str | None,
    workspace: str | None,
    offline: bool,
    quiet: bool,
    backend: str | None,
) -> int:
    """Ask a model PROMPT and print its answer. `-`, or nothing, is standard input; $GPT_OSS_PROMPT is the default.

    It runs as a flow of one step: in Harmony mode with a gpt-oss model, else by the model's own chat template.
    Nothing is kept unless --record says so. On a terminal the model's thoughts go to standard error.

    \b
    Examples:
      gptoss-flow infer "Why is the sky blue?"
      gptoss-flow infer --reasoning high --system "Answer in French." "How many primes are below 100?"
      git diff | gptoss-flow infer --system "Write a commit message for this change." -
      gptoss-flow infer --raw --max-tokens 24 --temperature 0 "The capital of France is"
      gptoss-flow infer --tools read_file,list_files "What does this project do?"
      gptoss-flow infer --tools "Which day of the week was 4 May 1900?"
      gptoss-flow infer --record --json "Name three rivers." | jq -r .text
    """
    if profile is not None and url is not None:
        raise click.UsageError("say --profile or --url, not both")
    scripted, model = (model, None) if model is not None and model.startswith(SCRIPTED) else (None, model)
    if model is not None and profile is None and url is None:
        raise click.UsageError("--model is what the server at --url calls its model: say --url too")
    if is_raw and (system is not None or reasoning is not None):
        raise click.UsageError("--raw sends the text as it is: there is no place for --system and --reasoning")
    if tools and tools != NO_NAMES and _was_typed("tools") and not _was_typed("prompt") and not names_tools(tools):
        prompt, tools = tools, NO_NAMES  # `--tools PROMPT`
    granted = (
        OWN_TOOLS if tools == NO_NAMES else [each.strip() for each in (tools or "").split(",") if each.strip()]
    )
    if is_raw and granted:
        raise click.UsageError("--raw sends the text as it is: there is no place for --tools")
    params: dict[str, Json] = {"max_tokens": max_tokens, "temperature": temperature}
    question = Question(
        prompt=read_prompt(prompt),
        is_raw=is_raw,
        system=system,
        reasoning=reasoning,
        params={name: value for name, value in params.items() if value is not None},
        tools=granted,
        max_turns=max_turns,
        schema=schema,
        server=profile or DEFAULT_PROFILE if url is None else given_url(url),
        model=model,
    )
    answer = AnswerWriter(sys.stdout)
    view = AnswerView(answer if stream and not as_json else None, sys.stderr, is_quiet=quiet)
    is_kept = record or record_dir is not None
    finished = infer(
        question,
        views=[view],
        cwd=Path.cwd(),
        workspace=Path(workspace) if workspace is not None else None,
        keep_in=Path(record_dir or KEPT_LOGS) if is_kept else None,
        scripted=scripted,
        offline=offline,
        ask=terminal_ask(sys.stderr),
        unsandboxed=unsandboxed,
    )
    return _end(finished, answer, view, as_json=as_json, is_streamed=stream, is_kept=is_kept)


def _was_typed(name: str) -> bool:
    """Whether a parameter comes from the command line, and not from the environment or its default."""
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _end(
    finished: Finished, answer: AnswerWriter, view: AnswerView, *, as_json: bool, is_streamed: bool, is_kept: bool
) -> int:
    """Print what is left to print, and say what went wrong; the exit code."""
    result, step = finished.result, finished.state.steps.get(STEP)
    text = result.outputs.get("text")  # the record may lack what looks like a secret
    if as_json:
        said = summary(finished.state, finished.folder if is_kept else None)
        fields = dict(step.fields) if step is not None else {}
        said |= {"status": result.status, "outputs": result.outputs, "text": text}
        said |= {name: fields.get(name) for name in RESULT_FIELDS}
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        if not is_streamed:
            answer.write(json_text(text) if text is not None else "")
        answer.end()
        if text == "" and not view.is_quiet:
            click.echo("the answer is empty: the model ended it at once", err=True)
    if view.failure is not None:
        raise view.failure
    if is_kept:
        click.echo(f"the run is on record in {finished.folder}", err=True)
    error = str((step.error or {}).get("message", "")) if step is not None else ""
    if message := error if error and error in result.error else result.error:
        click.echo(for_terminal(message), err=True)
    if result.bug is not None:
        raise result.bug
    return int(result.exit_code)
