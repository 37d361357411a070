"""docker and podman: a container without network, capabilities or anything of the host but the workspace.

Held by the argument lists in the tests; never run by them.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from gptoss_flow.errors import Problem
from gptoss_flow.escape import one_line
from gptoss_flow.tools.sandbox.guarded import Guarded, checked, guarded
from gptoss_flow.tools.sandbox.job import INSIDE, TOOLS_AT, WORKSPACE_AT, Job, Launch, Limits, unavailable
from gptoss_flow.tools.sandbox.programs import trusted_program
from gptoss_flow.tools.workspace import refusal

FOLDERS = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/opt/podman/bin")
IMAGE = f"docker.io/library/python:{sys.version_info.major}.{sys.version_info.minor}-slim"
"""It must be there: nothing is fetched because a model called a tool."""
OF_THE_CLIENT = ("HOME", "PATH", "DOCKER_HOST", "DOCKER_CONTEXT", "XDG_RUNTIME_DIR", "CONTAINER_HOST")
BASE_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
    "PYTHONDONTWRITEBYTECODE": "1",
}
PROBE_S = 20.0


def arguments(
    engine: str, name: str, workspace: Path, kept: Sequence[Guarded], limits: Limits, *, network: bool, user: str
) -> list[str]:
    """What follows the engine's own name, up to the image."""
    hold = f"rw,nosuid,nodev,mode=1777,size={limits.temporary_bytes}"
    return [
        *("run", "--rm", "--interactive", "--pull", "never", "--name", name, "--hostname", "sandbox"),
        *("--network", "bridge" if network else "none", "--read-only", "--cap-drop", "ALL"),
        *("--security-opt", "no-new-privileges", "--user", user),
        *(("--userns", "keep-id") if engine == "podman" else ()),
        *("--pids-limit", str(limits.processes), "--memory", str(limits.memory_bytes)),
        *("--memory-swap", str(limits.memory_bytes), "--ulimit", "core=0"),
        *("--tmpfs", f"/tmp:{hold}", "--shm-size", str(limits.temporary_bytes)),
        *("--mount", f"type=bind,src={INSIDE},dst={TOOLS_AT},readonly"),
        *("--mount", f"type=bind,src={workspace},dst={WORKSPACE_AT}"),
        *(word for one in kept for word in ("--mount", _kept(workspace, one))),
        *("--workdir", WORKSPACE_AT),
    ]


def _kept(workspace: Path, one: Guarded) -> str:
    inside = "/".join((WORKSPACE_AT, *one.parts))
    if one.how == "hidden":
        return f"type=tmpfs,dst={inside},tmpfs-size=4096,tmpfs-mode=0555"
    held = f"type=bind,src={workspace.joinpath(*one.parts)},dst={inside}"
    return f"{held},readonly" if one.how == "read" else held


@dataclass(frozen=True, slots=True)
class Container:
    """Satisfies `job.Kind`."""

    name: str
    """The engine: docker or podman."""

    def problem(self) -> Problem | None:
        return probe(self.name)

    def program(self, name: str) -> list[str]:
        return ["python3", "-I", f"{TOOLS_AT}/{name}"]

    def launch(self, job: Job) -> Launch:
        program = trusted_program(f"{folder}/{self.name}" for folder in FOLDERS)
        if not isinstance(program, str):
            raise unavailable(_missing(self.name))
        workspace = checked(job.workspace, job.own_files)
        if {",", '"'} & set(f"{workspace}{INSIDE}"):
            raise refusal(f"{self.name} takes no workspace whose path holds a comma or a quote")
        container = f"gptoss-flow-{secrets.token_hex(8)}"
        kept = guarded(workspace, job.own_files)
        given = arguments(
            self.name,
            container,
            workspace,
            kept,
            job.limits,
            network=job.network,
            user=f"{os.geteuid()}:{os.getegid()}",
        )
        return Launch(
            argv=[program, *given, IMAGE, "python3", "-I", "-S", f"{TOOLS_AT}/warden.py"],
            env=_client_env(),
            base_env=BASE_ENV,
            counts_processes=False,
            end=[program, "kill", container],
        )


def _client_env() -> dict[str, str]:
    return {name: os.environ[name] for name in OF_THE_CLIENT if name in os.environ}


def _missing(engine: str) -> Problem:
    return Problem(
        None,
        f"no sandbox for tool code: {engine} is not installed",
        f"install {engine}, or choose another sandbox",
    )


@cache
def probe(engine: str) -> Problem | None:
    """Ask the engine for the image."""
    program = trusted_program(f"{folder}/{engine}" for folder in FOLDERS)
    if not isinstance(program, str):
        return _missing(engine)
    try:
        done = subprocess.run(
            [program, "image", "inspect", "--format", "{{.Id}}", IMAGE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_client_env(),
            timeout=PROBE_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Problem(None, f"no sandbox for tool code: {engine} gives no answer: {error}")
    if done.returncode == 0:
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["it gives no reason"]
    return explained(engine, one_line(said[-1]))


def explained(engine: str, said: str) -> Problem:
    """From the engine's own words: no image, or no engine that runs."""
    missing = any(words in said.lower() for words in ("no such image", "no such object", "not known", "not found"))
    why = f"has no image {IMAGE}" if missing else "does not answer"
    fix = f"{engine} pull {IMAGE}" if missing else f"start {engine}, or choose another sandbox"
    return Problem(None, f"no sandbox for tool code: {engine} {why} ({said})", fix)
