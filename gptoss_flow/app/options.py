"""Refuses a profile that its engine cannot be told, before anything is started."""

from __future__ import annotations

from pathlib import Path

from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.server.command import compile_command
from gptoss_flow.server.engines import Engine, find_engine
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import places_of


def require_options(resolved: ResolvedProfile, model: Path, machine: Machine, state_root: Path) -> Engine:
    """The engine that the profile would run, if it can be told every key. Blocking.

    Raises `Unavailable` without an engine, and `Invalid`, each with the place of the key.
    """
    profile = resolved.profile
    with places_of(resolved):
        engine = find_engine(profile, state_root, machine.environ)
        compile_command(profile, model, engine, port=1, key=None, threads=None, environ=machine.environ)
    return engine
