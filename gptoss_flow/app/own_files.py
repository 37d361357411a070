"""What a flow is made of on this machine: what the next run of it would run, or believe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gptoss_flow.app.bind import BoundFlow
from gptoss_flow.app.lock_file import lock_path
from gptoss_flow.lang.profile_places import PROFILES, project_folder
from gptoss_flow.plan.plan import Plan
from gptoss_flow.tools.names import FileFunction, meaning


def own_files(bound: BoundFlow) -> tuple[Path, ...]:
    """Files and folders by their real paths; some may not be there yet, and would be found once they are."""
    project = project_folder(bound.cwd)  # which any folder on the way to it could become
    named = [each / PROFILES for each in (bound.cwd, *bound.cwd.parents) if each.is_relative_to(project)]
    named += [path for plan in bound.plan.flows() for path in _of_flow(plan)]
    for profile in bound.profiles.values():
        for each in profile.alternatives:
            named += [bound.cwd / file for file in each.chain]
            named += [bound.cwd / each.profile.binary] if each.profile.binary else []
    return tuple(dict.fromkeys(Path(os.path.realpath(path)) for path in named))


def _of_flow(plan: Plan) -> Iterator[Path]:
    loaded, folder = plan.loaded, plan.loaded.folder
    yield folder / loaded.path.name
    yield lock_path(folder / loaded.path.name)
    yield folder / PROFILES
    yield from (folder / name for name in loaded.schemas)
    for name in plan.tools:
        match meaning(name, plan.tool_servers):
            case FileFunction(path):
                yield folder / path
    for server in plan.tool_servers.values():
        given = server.compiled.data
        for word in given.get("command") or ():
            file = folder / str(given.get("cwd") or ".") / str(word)
            if os.path.isfile(file):  # noqa: PTH113  # Path.is_file raises for a word that is too long
                yield file
