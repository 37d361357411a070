"""sandbox-exec, macOS's own: no network, nothing to read but the system and the workspace, one folder to write.

Held by the profile and the argument list in the tests; never run by them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from gptoss_flow.errors import Problem
from gptoss_flow.tools.sandbox.guarded import Guarded, checked, guarded
from gptoss_flow.tools.sandbox.job import INSIDE, Job, Launch, unavailable
from gptoss_flow.tools.sandbox.programs import trusted_program
from gptoss_flow.tools.sandbox.python_home import this_python

PLACES = ("/usr/bin/sandbox-exec",)
SYSTEM = ("/usr/lib", "/usr/bin", "/usr/share", "/bin", "/sbin", "/usr/sbin", "/System", "/Library/Frameworks")
DENIED = {
    "hidden": ("file-read* file-write*", "subpath"),
    "read": ("file-write*", "subpath"),
    "pinned": ("file-write-unlink", "literal"),
}
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


def profile(workspace: Path, kept: Sequence[Guarded], readable: Sequence[str], *, network: bool) -> str:
    """What may be done, in Apple's language; a later rule wins over an earlier one."""
    rules = [
        "(version 1)",
        "(deny default)",
        "(allow process-fork)",
        "(allow process-exec)",
        "(allow signal (target same-sandbox))",
        "(allow sysctl-read)",
        "(allow file-read-metadata)",
        f"(allow file-read* {_places((*SYSTEM, *readable), 'subpath')})",
        f"(allow file-read* file-write-data {_places(DEVICES, 'literal')})",
        f"(allow file-read* file-write* {_places([str(workspace)], 'subpath')})",
    ]
    for one in kept:
        denied, which = DENIED[one.how]
        rules.append(f"(deny {denied} {_places([str(workspace.joinpath(*one.parts))], which)})")
    if network:
        rules += ["(allow network*)", "(allow system-socket)"]
    return "\n".join(rules)


def _places(paths: Sequence[str], how: str) -> str:
    return " ".join(f"({how} {json.dumps(path, ensure_ascii=False)})" for path in paths)


class SandboxExec:
    """Satisfies `job.Kind`."""

    name = "sandbox-exec"

    def problem(self) -> Problem | None:
        if sys.platform == "darwin" and isinstance(trusted_program(PLACES), str):
            return None
        fix = "choose another sandbox: bwrap, docker or podman"
        return Problem(None, "no sandbox for tool code: sandbox-exec is for macOS", fix)

    def program(self, name: str) -> list[str]:
        return [this_python().program, "-I", str(INSIDE / name)]

    def launch(self, job: Job) -> Launch:
        program = trusted_program(PLACES)
        if not isinstance(program, str):
            raise unavailable(Problem(None, "no sandbox for tool code: sandbox-exec is not there"))
        python = this_python()
        workspace = checked(job.workspace, job.own_files)
        readable = [*python.paths, *(path for _, path in python.links), str(INSIDE)]
        said = profile(workspace, guarded(workspace, job.own_files), readable, network=job.network)
        return Launch(
            argv=[program, "-p", said, python.program, "-I", "-S", str(INSIDE / "warden.py")],
            folder=str(workspace),
            base_env={
                "PATH": f"{python.search}:/usr/bin:/bin:/usr/sbin:/sbin",
                "HOME": str(workspace),
                "TMPDIR": str(workspace),
                "LANG": "C.UTF-8",
                "TERM": "dumb",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            own_processes=False,
            counts_processes=False,
        )
