"""`gptoss-flow server`: starts, stops and shows the llama.cpp servers that gptoss-flow manages."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys

import click

from gptoss_flow.app.server_log import LogReader, follow
from gptoss_flow.app.servers import Servers, health_json, server_json, which_one
from gptoss_flow.cli import complete, server_care
from gptoss_flow.cli.options import json_option
from gptoss_flow.cli.while_read import while_read
from gptoss_flow.errors import ExitCode, Invalid, Unavailable
from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.fields import parse_duration
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server.verbs import Running
from gptoss_flow.ui.servers import draw_health, draw_server, draw_servers

STATUS_PROMPT = ("GPT_OSS_STATUS_PROMPT", "GPT_OSS_PROMPT")
STATUS_TOKENS = ("GPT_OSS_STATUS_MAX_TOKENS", "GPT_OSS_MAX_TOKENS")
"""The variables of a sample completion, the first that is set counts."""


def _idle_timeout(_: click.Context, __: click.Parameter, given: str | None) -> float | None:
    """Seconds above 0, or -1, of a text like `10m`."""
    if given is None:
        return None
    try:
        seconds = parse_duration(float(given) if _is_number(given) else given)
    except ValueError as error:
        raise click.BadParameter(f'"{given}" {error}, or -1 for good') from None
    if seconds == 0:
        raise click.BadParameter("0 would stop it as soon as it is ready; -1 lets it stay for good")
    return seconds


def _is_number(text: str) -> bool:
    return text.removeprefix("-").replace(".", "", 1).isdecimal()


@click.group("server")
def command() -> None:
    """Start, stop, warm and look at managed servers.

    A flow starts the servers that it needs by itself and stops them at its end. A server that was started here
    stays, and every flow that asks for the same profile finds it warm.
    """


command.add_command(server_care.warm)
command.add_command(server_care.keepalive)
command.add_command(server_care.restart)


@command.command("start", short_help="Start a server, or find it, and leave it running.")
@click.argument("profile", metavar="[PROFILE]", default="local", shell_complete=complete.profiles)
@click.option(
    "--idle-timeout", callback=_idle_timeout, metavar="DURATION",
    help="Stop it so long after its last user (10m, 2h); -1: never. [default: the profile's, else -1]",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Download nothing.")
@json_option
@click.pass_context
def start(context: click.Context, profile: str, idle_timeout: float | None, offline: bool, as_json: bool) -> int:
    """Start the server of PROFILE (a name or a path) and leave it running; find it where it runs already.

    \b
    Examples:
      gptoss-flow server start
      gptoss-flow server start demo --idle-timeout 10m
      gptoss-flow run flows/hello.yaml --server main=demo      finds it
    """
    servers = Servers.here()
    if servers.is_external(profile):
        _say(f"profile {profile} is of a server that somebody else runs: it is used as it is")
        with status.make_context("status", [profile], parent=context) as asked:  # so that its variables count
            sample = {name: asked.params[name] for name in ("prompt", "max_tokens")}
        (health,) = asyncio.run(servers.status(profile, **sample))
        told = health_json(health)
        click.echo(json.dumps(told, indent=2) if as_json else draw_health(told))
        return int(ExitCode.OK if health.is_up else ExitCode.UNAVAILABLE)
    running, _ = asyncio.run(servers.start(profile, _say, idle_timeout_s=idle_timeout, offline=offline))
    shown = server_json(running)
    click.echo(json.dumps(shown, indent=2) if as_json else draw_server(shown))
    return int(ExitCode.OK)


@command.command("stop", short_help="Stop one, or all.")
@click.argument("server", metavar="[PROFILE|ID]", required=False, shell_complete=complete.servers)
@click.option("--all", "everyone", is_flag=True, help="Stop every managed server.")
@json_option
def stop(server: str | None, everyone: bool, as_json: bool) -> None:
    """Stop a server, whoever uses it; the only one where none is named. What does not run is no error.

    \b
    Examples:
      gptoss-flow server stop demo
      gptoss-flow server stop --all
    """
    if everyone and server is not None:
        raise click.UsageError("name a server or say --all, not both")
    stopped = asyncio.run(_stop(server, everyone))
    if as_json:
        click.echo(json.dumps([server_json(each) | {"state": "stopped"} for each in stopped], indent=2))
    elif not stopped:
        _say("no server runs" if server is None else f'no server of "{server}" runs')
    else:
        for each in stopped:
            users = f", under {each.users} user{'s' if each.users > 1 else ''}" if each.users else ""
            click.echo(one_line(f"stopped {each.record.name} (process {each.record.pid}{users})"))


async def _stop(server: str | None, everyone: bool) -> list[Running]:
    servers = Servers.here()
    found = await servers.find(server)
    if len(found) > 1 and server is None and not everyone:
        raise Invalid(which_one(found, "name one of them, or its ID, or say --all"))
    await asyncio.gather(*(servers.stop(each) for each in found))
    return found


@command.command("status", short_help="Say how they are, with a timed sample completion.")
@click.argument("server", metavar="[PROFILE|ID|URL]", required=False, shell_complete=complete.servers)
@click.option(
    "--prompt",
    default="1+1=",
    envvar=STATUS_PROMPT,
    show_default=True,
    help="What the sample asks.",
)
@click.option(
    "--max-tokens", type=click.IntRange(min=1), default=8, envvar=STATUS_TOKENS,
    show_default=True,
    help="How many tokens it generates.",
)  # fmt: skip
@json_option
def status(server: str | None, prompt: str, max_tokens: int, as_json: bool) -> int:
    """Say how servers are: health, model, slots, and a timed sample completion. Exit code 3 if one is down.

    \b
    Examples:
      gptoss-flow server status
      gptoss-flow server status demo --json
      gptoss-flow server status http://127.0.0.1:8080
    """
    found = asyncio.run(Servers.here().status(server, prompt=prompt, max_tokens=max_tokens))
    shown = [health_json(each) for each in found]
    if as_json:
        click.echo(json.dumps(shown, indent=2))
    elif shown:
        click.echo("\n\n".join(draw_health(each) for each in shown))
    if not found:
        what = "no server" if server is None else f'no server of "{server}"'
        start_it = "gptoss-flow server start" + (f" {server}" if server is not None else "")
        raise Unavailable(f"{what} runs; start it with: {start_it}")
    return int(ExitCode.OK if all(each.is_up for each in found) else ExitCode.UNAVAILABLE)


@command.command("ps", short_help="List those that run.")
@json_option
def ps(as_json: bool) -> None:
    """List the servers that run, those of running flows too.

    USERS: processes that use it now. UNTIL: when it stops by itself.
    """
    shown = [server_json(running) for running in asyncio.run(Servers.here().find())]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    click.echo(json.dumps(shown, indent=2) if as_json else draw_servers(shown, width))


@command.command("logs", short_help="Print a server's own log.")
@click.argument("server", metavar="[PROFILE|ID]", required=False, shell_complete=complete.servers)
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="How many, from the end."
)
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on with what is added, until it ends.")
@json_option
def logs(server: str | None, lines: int, is_followed: bool, as_json: bool) -> None:
    """Print a server's own log, also of one that was started with `server start` and has ended since.

    \b
    Examples:
      gptoss-flow server logs -n 20
      gptoss-flow server logs demo -f
    """
    if is_followed and as_json:
        raise click.UsageError("--json tells the lines that there are by now: there is no place for --follow")
    asyncio.run(while_read(_logs(server, lines, is_followed, as_json)))


async def _logs(server: str | None, lines: int, is_followed: bool, as_json: bool) -> None:
    path, running = await Servers.here().log(server)
    reader = LogReader(path)
    text = reader.read_last(lines)
    if as_json:
        shown = {"log": str(path), "running": running is not None, "lines": text.splitlines()}
        click.echo(json.dumps(shown, indent=2))
        return
    click.echo(for_terminal(text), nl=False)
    if is_followed:
        async for text in follow(reader, running, SystemClock()):
            click.echo(for_terminal(text), nl=False)
        _say("the server has ended")


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)
