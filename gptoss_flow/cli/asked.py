"""From the profile or address that a user names to a server that is asked: one that runs, else one started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

import click

from gptoss_flow.app.query import Address, given_url, running
from gptoss_flow.errors import Unavailable
from gptoss_flow.escape import one_line
from gptoss_flow.llama.blocking import BlockingClient

DEFAULT_PROFILE = "local"

T = TypeVar("T")


def ask_server(
    profile: str | None, url: str | None, use: Callable[[BlockingClient], T], *, offline: bool, quiet: bool = False
) -> tuple[T, str]:
    """What `use` makes of the server, and the server's name. $GPT_OSS_URL and $GPT_OSS_PORT count where neither a
    profile nor an address is given. Raises `Invalid`, `Unavailable`, and what `use` raises."""
    return _ask_running(profile, url, use) or _ask_started(
        profile or DEFAULT_PROFILE, offline, use, _say_nothing if quiet else _say
    )


def _ask_running(profile: str | None, url: str | None, use: Callable[[BlockingClient], T]) -> tuple[T, str] | None:
    """What a server answers that need not be started; None where there is none."""
    port = None
    if profile is None and url is None:
        url = os.environ.get("GPT_OSS_URL") or None
        port = None if url else os.environ.get("GPT_OSS_PORT") or None
    if url is not None:
        url = given_url(url)
        with running(url=url) as address:
            return _asked(address or Address(url), use)
    if port is not None and port.isdecimal():
        with running(port=int(port)) as address, contextlib.suppress(Unavailable):
            return _asked(address or Address(f"http://127.0.0.1:{port}"), use)
        return None
    with running(profile=profile or DEFAULT_PROFILE) as address:
        return _asked(address, use) if address else None


def _asked(address: Address, use: Callable[[BlockingClient], T]) -> tuple[T, str]:
    with contextlib.closing(BlockingClient(address.url, address.key)) as client:
        return use(client), address.name or address.url


def _ask_started(
    profile: str, offline: bool, use: Callable[[BlockingClient], T], say: Callable[[str], None]
) -> tuple[T, str]:
    # A profile and all that reads it takes longer to import than a running server takes to answer.
    import asyncio

    from gptoss_flow.app.started import with_server

    return asyncio.run(with_server(profile, use, say, offline=offline))


def _say(line: str) -> None:
    click.echo(one_line(line), err=True)


def _say_nothing(line: str) -> None:
    pass
