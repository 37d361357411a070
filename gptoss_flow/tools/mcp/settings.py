"""How an MCP server is reached, with every value known. Pure but for looking a program up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_flow.errors import Invalid, Problem, Unavailable

PASSED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
"""The variables that every program is given: they say where things are, and no secret is in them."""


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """One tool server of a flow. Exactly one of `command` and `url` is given."""

    name: str
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    """Names of further variables that the program is given."""
    cwd: Path = field(default_factory=Path.cwd)
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 60.0
    tools: tuple[str, ...] | None = None
    """The only ones that are let in; None: all."""


def environment(settings: ServerSettings, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the program. Raises `Invalid` where a variable that the flow names is not set."""
    if missing := [name for name in settings.env if name not in environ]:
        raise Invalid(
            *(
                Problem(
                    None,
                    f"the tool server {settings.name} needs the variable {name}, which is not set",
                    f"set the environment variable {name}",
                )
                for name in missing
            )
        )
    return {name: environ[name] for name in (*PASSED, *settings.env) if name in environ}


def executable(settings: ServerSettings, env: Mapping[str, str]) -> str:
    """The path of the program: on PATH, or, with a slash in its name, from the server's folder.

    Raises `Unavailable`. What lies in the working folder is never found by its bare name.
    """
    program = settings.command[0]
    if "/" in program:
        path = os.path.normpath(settings.cwd / program)
        if not (os.path.isfile(path) and os.access(path, os.X_OK)):  # noqa: PTH113  # raises for a name that is too long
            raise Unavailable(
                Problem(None, f"the tool server {settings.name} cannot be started: {path} is no program")
            )
        return path
    folders = os.pathsep.join(f for f in env.get("PATH", os.defpath).split(os.pathsep) if Path(f).is_absolute())
    found = shutil.which(program, path=folders)
    if found is None:
        said = f"the tool server {settings.name} cannot be started: there is no program {program} on the PATH"
        raise Unavailable(Problem(None, said, "install it, or write its path"))
    return found
