"""From a profile's name, path or URL to the profile, and from there to its model file."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile_places import SearchPath, search_path
from gptoss_flow.lang.profiles import ResolvedProfile, external_profile, list_profiles, resolve_profile
from gptoss_flow.server.model import Machine, Report, choose_model, require_room
from gptoss_flow.server.model_file import ModelFile

URL_STARTS = ("http://", "https://")


def find_profile(ref: str, cwd: Path, *, needs_model: bool = True) -> ResolvedProfile:
    """What a name or path means outside of any flow; environment variables count. Raises `Invalid`."""
    return resolve_profile(
        ref, places=known_places(cwd), base_dir=cwd, needs_model=needs_model, environ=os.environ
    )


def find_server_profile(ref: str, cwd: Path) -> ResolvedProfile:
    """The same for something that can run; a URL means somebody else's server. Raises `Invalid`."""
    return external_profile(ref) if ref.startswith(URL_STARTS) else find_profile(ref, cwd)


def known_places(cwd: Path) -> SearchPath:
    """Where profiles are looked for outside of any flow."""
    return search_path(None, cwd)


def known_profiles(cwd: Path) -> list[tuple[str, Path, str]]:
    """Name, file and description of each that can be named in `cwd`."""
    return list_profiles(known_places(cwd))


async def choose_model_file(
    resolved: ResolvedProfile, machine: Machine, report: Report, *, offline: bool = False, to_run: bool = True
) -> tuple[ResolvedProfile, ModelFile]:
    """`server.model.choose_model` in a thread; `report` is called in the event loop. Cancelling ends a download.

    `to_run`: a model that certainly has no room in this machine's memory is refused. The profile must not be an
    external one. Raises `Unavailable`, `Invalid`.
    """
    loop = asyncio.get_running_loop()
    called_off = threading.Event()

    def say(line: str) -> None:
        # What this raises ends the search or the download, which a thread's own task cannot be made to do.
        if called_off.is_set():
            raise Unavailable("called off")
        loop.call_soon_threadsafe(report, line)

    def choose() -> tuple[ResolvedProfile, ModelFile]:
        taken, model = choose_model(resolved.alternatives, machine, say, offline=offline)
        if to_run:
            require_room(taken.profile, model, machine, say)
        return taken, model

    try:
        return await asyncio.to_thread(choose)
    except asyncio.CancelledError:
        called_off.set()
        raise
