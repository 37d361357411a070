"""`gptoss-flow query`: the fastest way to a few tokens."""

from __future__ import annotations

import json
import sys

import click

from gptoss_flow.app.query import Reply, ask
from gptoss_flow.cli import complete
from gptoss_flow.cli.asked import DEFAULT_PROFILE, ask_server
from gptoss_flow.cli.prompt_text import read_prompt
from gptoss_flow.llama.blocking import BlockingClient
from gptoss_flow.ui.answer import AnswerWriter


@click.command("query")
@click.argument("prompt", required=False, envvar="GPT_OSS_PROMPT")
@click.option(
    "--profile", metavar="NAME", shell_complete=complete.profiles,
    help=f"Whose server to ask: a name or a path. [default: {DEFAULT_PROFILE}]",
)  # fmt: skip
@click.option(
    "--url", metavar="URL", help="Ask the server at this address. [env var: GPT_OSS_URL, or GPT_OSS_PORT]"
)
@click.option(
    "-n", "--max-tokens", type=click.IntRange(min=1), default=8, envvar="GPT_OSS_MAX_TOKENS",
    show_default=True, show_envvar=True, help="How many tokens at most.",
)  # fmt: skip
@click.option(
    "--temperature", type=click.FloatRange(0, 5), default=0.0, envvar="GPT_OSS_TEMPERATURE",
    show_default=True, show_envvar=True, help="0 always takes the likeliest token.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    prompt: str | None,
    profile: str | None,
    url: str | None,
    max_tokens: int,
    temperature: float,
    offline: bool,
    as_json: bool,
) -> None:
    """Let a model go on from PROMPT: the text as it is, a few tokens, as fast as it can be.

    A server that runs is asked at once (`gptoss-flow server start` leaves one running); else one is started for
    this query. PROMPT `-`, or none, is standard input; $GPT_OSS_PROMPT is the default.

    \b
    Examples:
      gptoss-flow query "1+1="
      gptoss-flow query --profile demo --max-tokens 24 "The capital of France is"
      git log -1 --format=%s | gptoss-flow query --json -
    """
    if profile is not None and url is not None:
        raise click.UsageError("say --profile or --url, not both")
    text = read_prompt(prompt)
    answer = AnswerWriter(sys.stdout)

    def use(client: BlockingClient) -> Reply:
        params = {"max_tokens": max_tokens, "temperature": temperature}
        return ask(client, text, params, (lambda piece: None) if as_json else answer.write)

    reply, name = ask_server(profile, url, use, offline=offline)
    if as_json:
        click.echo(json.dumps(_as_json(reply, name), indent=2, ensure_ascii=False))
    else:
        answer.end()
        if not reply.text:
            click.echo("the answer is empty: the model ended it at once", err=True)


def _as_json(reply: Reply, server: str) -> dict[str, object]:
    return {
        "text": reply.text,
        "finish_reason": "length" if reply.is_cut else "stop",
        "server": server,
        "usage": {"prompt_tokens": reply.prompt_tokens, "completion_tokens": reply.tokens},
        "timings": {"ttft_s": reply.ttft_s, "total_s": reply.total_s, **reply.timings},
    }
