"""Asks a server that is started for it, or that only its profile's every detail finds: the slow way of a query."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gptoss_flow.app.narrate import narrated
from gptoss_flow.app.profiles import choose_model_file, find_server_profile
from gptoss_flow.llama.blocking import BlockingClient
from gptoss_flow.llama.blocking_openai import BlockingOpenAi
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.server.manager import open_server
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.record import state_root

T = TypeVar("T")


def _say_nothing(line: str) -> None:
    """Of a server that somebody else runs there is nothing to wait for."""


async def with_server(
    ref: str, use: Callable[[BlockingClient], T], say: Callable[[str], None], *, offline: bool = False
) -> tuple[T, str]:
    """What `use` makes of the server that a profile's name, path or URL means, and the profile's name.

    The server is stopped afterwards, or stays as its profile says; `say` is told what happens. `use` runs in a
    thread. Raises `Invalid`, `Unavailable`, and what `use` raises.
    """
    resolved, model_path = find_server_profile(ref, Path.cwd(), offline=offline), Path()
    if resolved.profile.resolved_engine != "external":
        resolved, model = await choose_model_file(resolved, Machine.here(), say, offline=offline)
        model_path = model.path

    server = open_server(
        resolved.profile,
        model_path,
        state_root=state_root(),
        log_path=None,
        on_change=narrated(_say_nothing if resolved.profile.resolved_engine == "external" else say),
        clock=SystemClock(),
    )
    try:
        with places_of(resolved):
            endpoint = await server.ensure_ready()
        client = (
            BlockingClient(endpoint.url, endpoint.api_key)
            if endpoint.api == "llama.cpp"
            else BlockingOpenAi(endpoint.url, endpoint.api_key, endpoint.api, endpoint.model)
        )
        try:
            return await asyncio.to_thread(use, client), resolved.name
        finally:
            client.close()  # where this was interrupted, so is the thread
    finally:
        await server.release()
