"""From a profile's name, path or URL to the profile, and from there to its model file."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from gptoss_flow.app.fetch import SourceFetcher
from gptoss_flow.app.options import require_options
from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.elsewhere import Sources
from gptoss_flow.lang.profile_places import SearchPath, search_path
from gptoss_flow.lang.profiles import (
    KnownProfile,
    ResolvedProfile,
    external_profile,
    list_profiles,
    resolve_profile,
)
from gptoss_flow.lang.sources import is_server
from gptoss_flow.server.model import Machine, Report, choose_model, require_context, require_room
from gptoss_flow.server.model_file import ModelFile
from gptoss_flow.server.problems import places_of
from gptoss_flow.server.record import state_root


def find_profile(ref: str, cwd: Path, *, needs_model: bool = True, offline: bool = False) -> ResolvedProfile:
    """What a name, path or source means outside of any flow; environment variables count.

    Raises `Invalid`; `Unavailable` where a source that is not in the cache cannot be had.
    """
    return resolve_profile(
        ref,
        places=known_places(cwd),
        base_dir=cwd,
        needs_model=needs_model,
        environ=os.environ,
        sources=Sources(SourceFetcher.here(offline=offline)),
    )


def find_server_profile(ref: str, cwd: Path, *, offline: bool = False) -> ResolvedProfile:
    """The same for something that can run; a URL that is no profile's means somebody else's server."""
    return external_profile(ref) if is_server(ref) else find_profile(ref, cwd, offline=offline)


def known_places(cwd: Path) -> SearchPath:
    """Where profiles are looked for outside of any flow."""
    return search_path(None, cwd)


def known_profiles(cwd: Path) -> list[KnownProfile]:
    """Each that can be named in `cwd`, and each that another of its name hides."""
    return list_profiles(known_places(cwd))


async def choose_model_file(
    resolved: ResolvedProfile, machine: Machine, report: Report, *, offline: bool = False, to_run: bool = True
) -> tuple[ResolvedProfile, ModelFile]:
    """`server.model.choose_model` in a thread; `report` is called in the event loop. Cancelling ends a download.

    `to_run`: a model that certainly has no room in this machine's memory, or was not trained for the context, is
    refused, and so is a key that the engine cannot be told. The profile must not be an external one. Raises
    `Unavailable`, `Invalid`.
    """
    loop = asyncio.get_running_loop()
    called_off = threading.Event()
    last = ""

    def say(line: str) -> None:
        # What this raises ends the search or the download, which a thread's own task cannot be made to do.
        nonlocal last
        if called_off.is_set():
            raise Unavailable("called off")
        if line != last:  # a download says every second that it waits: once is enough on record
            last = line
            loop.call_soon_threadsafe(report, line)

    def choose() -> tuple[ResolvedProfile, ModelFile]:
        taken, model = choose_model(resolved.alternatives, machine, say, offline=offline)
        if to_run:
            with places_of(taken):
                require_room(taken.profile, model, machine, say)
                require_context(taken.profile, model)
            require_options(taken, model.path, machine, state_root())
        return taken, model

    try:
        return await asyncio.to_thread(choose)
    except asyncio.CancelledError:
        called_off.set()
        raise
