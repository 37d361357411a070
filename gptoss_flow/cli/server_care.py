"""`server warm`, `server keepalive` and `server restart`: what can be done to a server that runs."""

from __future__ import annotations

import asyncio
import json

import click

from gptoss_flow.app import server_care
from gptoss_flow.app.server_care import keepalive_json, one_server, warming_json
from gptoss_flow.app.servers import Servers, server_json
from gptoss_flow.cli import complete
from gptoss_flow.cli.options import json_option
from gptoss_flow.escape import one_line
from gptoss_flow.fields import parse_duration
from gptoss_flow.server.verbs import Running
from gptoss_flow.ui.servers import draw_keepalives, draw_server, draw_warming

server_argument = click.argument("server", metavar="[PROFILE|ID]", required=False, shell_complete=complete.servers)


def _every(_: click.Context, __: click.Parameter, given: str | None) -> float | None:
    """Seconds above 0 of a text like `1s` or `0.5`."""
    if given is None:
        return None
    try:
        seconds = parse_duration(float(given) if given.replace(".", "", 1).isdecimal() else given)
    except ValueError as error:
        raise click.BadParameter(f'"{given}" {error}') from None
    if seconds <= 0:
        raise click.BadParameter("it must be above 0; end it with: gptoss-flow server keepalive stop")
    return seconds


@click.command("warm", short_help="Run warm-up completions now.")
@server_argument
@json_option
def warm(server: str | None, as_json: bool) -> None:
    """Run the profile's warm-up completions now, at least one in each slot, and say how long each took.

    What users have in the slots makes room for it. Exit code 3 if no server runs.

    \b
    Examples:
      gptoss-flow server warm
      gptoss-flow server warm demo --json
    """

    async def work() -> server_care.Warming:
        return await server_care.warm(await one_server(Servers.here(), server))

    shown = warming_json(asyncio.run(work()))
    click.echo(json.dumps(shown, indent=2) if as_json else draw_warming(shown))


@click.command("restart", short_help="Stop one and start it as it was.")
@server_argument
@click.option("--force", is_flag=True, help="Also if it is in use; requests that run then fail or run again.")
@json_option
def restart(server: str | None, force: bool, as_json: bool) -> None:
    """Stop a server and start it with the profile that it was started with, to stay as long as it stayed.

    One that is in use is left alone, with exit code 1, unless you say --force. One that only a running flow keeps
    is then stopped, and the flow starts it again. Exit code 3 if no server runs.

    \b
    Examples:
      gptoss-flow server restart
      gptoss-flow server restart demo --force
    """

    async def work() -> Running | None:
        servers = Servers.here()
        return await server_care.restart(servers, await one_server(servers, server), _say, force=force)

    running = asyncio.run(work())
    shown = None if running is None else server_json(running)
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    elif shown is None:
        _say("stopped; those who use it start it again")
    else:
        click.echo(draw_server(shown))


@click.group("keepalive", short_help="Keep a server's model warm while it is idle.")
def keepalive() -> None:
    """Touch an idle server's model now and then, so that its first answer after a pause comes at once.

    A profile says it with `keepalive: 1s`. It waits while requests run, costs no prompt its place in a slot, and
    ends with the server.
    """


@keepalive.command("start", short_help="Begin, or change how often.")
@server_argument
@click.option("--every", callback=_every, metavar="DURATION", help="How often. [default: the profile's, else 1s]")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Tokens for each touch. [default: the profile's, else 1]"
)
@json_option
def start(server: str | None, every: float | None, max_tokens: int | None, as_json: bool) -> None:
    """Touch a server's model while it is idle, from now until it ends. Exit code 3 if no server runs."""

    async def work() -> Running:
        return await server_care.keep_warm(await one_server(Servers.here(), server), every, max_tokens)

    _show([asyncio.run(work())], as_json)


@keepalive.command("stop", short_help="End it; the server runs on.")
@server_argument
@json_option
def stop(server: str | None, as_json: bool) -> None:
    """Touch a server's model no more, or that of any server where none is named; what does not run is no error."""

    async def work() -> list[Running]:
        found = await Servers.here().find(server)
        return list(await asyncio.gather(*map(server_care.let_cool, found)))

    cooled = asyncio.run(work())
    if not cooled and not as_json:
        _say("no server runs" if server is None else f'no server of "{server}" runs')
    else:
        _show(cooled, as_json)


@keepalive.command("status", short_help="Say how often, how many, how long.")
@server_argument
@json_option
def status(server: str | None, as_json: bool) -> None:
    """Say how servers are kept warm: how often, how many touches there were, when the last was, what it took."""

    async def work() -> list[Running]:
        return await Servers.here().find(server) or [await one_server(Servers.here(), server)]

    _show(asyncio.run(work()), as_json)


def _show(servers: list[Running], as_json: bool) -> None:
    shown = [keepalive_json(each) for each in servers]
    click.echo(json.dumps(shown, indent=2) if as_json else draw_keepalives(shown))


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)
