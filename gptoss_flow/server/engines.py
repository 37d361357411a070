"""Finds what can run a model: a llama-server binary with its own words for its options, or the embedded wheel."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.escape import one_line
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.environment import passed_environment
from gptoss_flow.server.flags import Help
from gptoss_flow.server.problems import KeyProblem, key_problem
from gptoss_flow.server.registry import file_identity, make_private
from gptoss_flow.user_path import user_path

EMBEDDED = Path(__file__).with_name("embedded.py")
BUILD_FOLDERS = (
    "~/llama.cpp/build/bin",
    "~/src/llama.cpp/build/bin",
    "~/.local/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/opt/llama.cpp/build/bin",
)
_DEVICE = re.compile(r"^ +(?P<name>[^\s:]+): ", re.MULTILINE)
HELP_TIMEOUT_S = 30.0
SHOWN_CHARS = 200
"""How much of what a program printed a message repeats."""
_NAME_ANOTHER = "name a llama-server by binary or $LLAMA_SERVER, or set engine: embedded"


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that runs models. `identity` changes with every build; `help` is None for the embedded engine."""

    kind: Literal["llama-server", "embedded"]
    program: tuple[str, ...]
    build: str
    identity: str
    help: Help | None = field(default=None, repr=False)


def find_engine(profile: Profile, state_root: Path, environ: Mapping[str, str]) -> Engine:
    """The engine that the profile asks for. Blocking (it may run `llama-server --help`). Raises `Unavailable`."""
    wanted = profile.engine
    if wanted in ("auto", "llama-server") and (binary := find_binary(profile, environ)):
        return llama_server(binary, state_root, environ)
    if wanted in ("auto", "embedded") and importlib.util.find_spec("xllamacpp"):
        build = f"xllamacpp {_version_of_wheel()}"
        return Engine("embedded", (sys.executable, "-I", str(EMBEDDED)), build, build)
    get_binary = "install llama.cpp (its llama-server on the PATH, or $LLAMA_SERVER, or binary in the profile)"
    get_wheel = "pip install 'gptoss-flow[local]'"
    match wanted:
        case "llama-server":
            raise Unavailable(
                key_problem("engine", "there is no llama-server", f"{get_binary}, or set engine: embedded")
            )
        case "embedded":
            hint = f"{get_wheel}, or set engine: llama-server"
            raise Unavailable(key_problem("engine", "the embedded engine is not installed", hint))
        case _:
            hint = f"{get_wheel}, or {get_binary}"
            raise Unavailable(Problem(None, "there is nothing to run a model with", hint))


@cache  # all that the wheel says of itself is read for it
def _version_of_wheel() -> str:
    return importlib.metadata.version("xllamacpp")


def find_binary(profile: Profile, environ: Mapping[str, str]) -> Path | None:
    """The llama-server to use. One that was named must exist: raises `Unavailable`."""
    path = environ.get("PATH", os.defpath)
    for named, whence in ((profile.binary, "binary"), (environ.get("LLAMA_SERVER"), "$LLAMA_SERVER")):
        if named:
            found = shutil.which(user_path(named), path=path)
            if not found:
                said, hint = (
                    f"{whence} names {named}, which is no program that can be run",
                    "correct or remove it",
                )
                raise Unavailable(KeyProblem(None, said, hint, ("binary",) if whence == "binary" else ()))
            return Path(found).absolute()
    folders = (str(user_path(folder)) for folder in BUILD_FOLDERS)
    found = shutil.which("llama-server", path=path) or shutil.which("llama-server", path=os.pathsep.join(folders))
    return Path(found).absolute() if found else None


def llama_server(binary: Path, state_root: Path, environ: Mapping[str, str]) -> Engine:
    """The engine of this binary. Its `--help` and `--version` are kept by its path, size and time."""
    identity = json.dumps(file_identity(binary))
    cached = state_root / "help" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    try:
        said = json.loads(cached.read_text("utf-8"))
        text, version = said["help"], said["version"]
    except (OSError, ValueError, KeyError, TypeError):
        text, version = _output(binary, "--help", environ), _output(binary, "--version", environ)
        if "--model" not in text:
            printed = one_line(next(iter(text.strip().splitlines()), ""))[:SHOWN_CHARS]
            said = f"{binary} does not seem to be a llama-server: its --help has no --model"
            said += f", it says: {printed}" if printed else ""
            raise Unavailable(key_problem("binary", said, _NAME_ANOTHER)) from None
        _keep(cached, {"help": text, "version": version})
    match = re.search(r"version: *(.+)", version)
    return Engine(
        "llama-server", (str(binary),), match[1].strip() if match else "unknown", identity, Help.parse(text)
    )


def devices_of(binary: Path, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The devices that a llama-server can compute on, beside the processor, by name. Raises `Unavailable`."""
    return tuple(match["name"] for match in _DEVICE.finditer(_output(binary, "--list-devices", environ)))


def _output(binary: Path, argument: str, environ: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            [binary, argument],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=HELP_TIMEOUT_S,
            check=False,
            env=passed_environment(environ),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = error.strerror if isinstance(error, OSError) else f"it did not end in {HELP_TIMEOUT_S:.0f} s"
        raise Unavailable(
            key_problem("binary", f"{binary} {argument} cannot be run: {why}", _NAME_ANOTHER)
        ) from None
    return (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")


def _keep(path: Path, said: Mapping[str, str]) -> None:
    make_private(path.parent.parent, path.parent)
    new = path.with_suffix(f".{os.getpid()}")
    new.touch(mode=0o600)
    new.write_text(json.dumps(said), "utf-8")
    new.replace(path)
