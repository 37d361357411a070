"""Sets targets up, sends the probes into a sandbox, and looks afterwards at what became of the targets.

As a program it does so as whoever runs it, and prints a line of JSON for each.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gptoss_flow.tools.sandbox.bwrap import Bubblewrap
from gptoss_flow.tools.sandbox.guarded import PACKAGE
from gptoss_flow.tools.sandbox.job import LIMITS, Job, Kind
from gptoss_flow.tools.sandbox.process import run
from gptoss_flow.tools.sandbox.python_home import this_python

HERE = Path(__file__).parent
CANARY = "ATTACK_CANARY"
TIMEOUT_S = 120
NOBODY = 65534
BOMB = "import os, time\nwhile os.getpid() < 3000:\n try: os.fork()\n except OSError: pass\ntime.sleep(60)"
"""It doubles itself, up to some thousands: it must not take every process of the machine if nothing ends it."""


@dataclass(frozen=True)
class Try:
    """One probe, or one look at a target afterwards."""

    name: str
    blocked: bool
    said: str


@contextmanager
def targets(folder: Path) -> Iterator[dict[str, Any]]:
    """What there is to reach: a secret, a server of each kind, a process, a record, a repository, a descriptor."""
    secret = folder / "secret.txt"
    secret.write_text("the secret")
    workspace = folder / "workspace"
    (workspace / ".gptoss-flow").mkdir(parents=True)
    (workspace / ".gptoss-flow/events.jsonl").write_text("{}\n")
    (workspace / ".git/hooks").mkdir(parents=True)
    (workspace / ".git/config").write_text("[core]\n")
    canary = secrets.token_hex(16)
    abstract = f"attack-{secrets.token_hex(8)}"
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix, named = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
        unix.bind(str(folder / "socket"))
        named.bind("\0" + abstract)
        for server in (unix, named):
            server.listen()
        for server in (tcp, udp, unix, named):
            server.setblocking(False)
        victim = stack.enter_context(subprocess.Popen(["sleep", "1000"]))
        stack.callback(victim.kill)
        inherited = stack.enter_context(secret.open())
        os.set_inheritable(inherited.fileno(), True)
        os.environ[CANARY] = canary
        stack.callback(os.environ.pop, CANARY)
        yield {
            "workspace": workspace,
            "servers": {"tcp": tcp, "udp": udp, "unix": unix, "abstract": named},
            "process": victim,
            "given": {
                "secret": str(secret),
                "canary": canary,
                "tcp": tcp.getsockname()[1],
                "udp": udp.getsockname()[1],
                "unix": str(folder / "socket"),
                "abstract": abstract,
                "victim": victim.pid,
                "python": this_python().program,
                "interpreter": [*this_python().paths, *(path for _, path in this_python().links)],
                "packages": [sysconfig.get_path("purelib") + "/planted.pth"],
            },
        }


def probed(kind: Kind, there: dict[str, Any], only: Sequence[str] = ()) -> list[Try]:
    """Send the probes in. In the sandbox of that kind, which may be none at all: then `only` says which."""
    code = (HERE / "probes.py").read_text()
    if kind.name == "dangerously_none":
        code = code.replace("/workspace", str(there["workspace"]))
    program = [this_python().program, "-I", "-S", "-c", code]
    job = Job(argv=program, workspace=there["workspace"], env={"GIVEN": "x"})
    given = json.dumps({**there["given"], "only": list(only)}).encode()
    ended = asyncio.run(run(kind, job, timeout_s=TIMEOUT_S, keep_bytes=1 << 20, stdin=given))
    tries = [Try(*json.loads(line)) for line in ended.stdout.splitlines()]
    return [*tries, Try("the_probes_ran_to_their_end", ended.exit_code == 0, f"{ended.exit_code} {ended.stderr}")]


def attack(folder: Path) -> list[Try]:
    """All of it, in a folder of its own."""
    with targets(folder) as there:
        workspace = there["workspace"]
        tries = probed(Bubblewrap(), there)
        for name, server in there["servers"].items():
            tries.append(Try(f"the_{name}_server_heard_nothing", *_unheard(server, stream=name != "udp")))
        tries.append(_bombed(workspace))
        alive = there["process"].poll() is None
        tries.append(Try("the_process_lives", alive, "alive" if alive else "gone"))
        seen = {
            str(path.relative_to(workspace))
            for top in (".git", ".gptoss-flow")
            for path in (workspace / top).rglob("*")
        }
        kept = seen == {".git/hooks", ".git/config", ".gptoss-flow/events.jsonl"}
        tries.append(Try("the_record_and_git_are_as_they_were", kept, " ".join(sorted(seen))))
        left = [path.name for path in workspace.rglob("*") if path.lstat().st_mode & 0o6000]
        tries.append(Try("no_file_runs_as_its_owner", not left, " ".join(left)))
    return tries


def _bombed(workspace: Path) -> Try:
    """The kernel's own limit does not bind root, and, where it binds, must leave it to us to end and tell."""
    program = [this_python().program, "-I", "-S", "-c", BOMB]
    job = Job(argv=program, workspace=workspace, limits=replace(LIMITS, processes=30))
    ended = asyncio.run(run(Bubblewrap(), job, timeout_s=TIMEOUT_S, keep_bytes=100))
    return Try("a_fork_bomb_is_ended_and_named", ended.limit == "processes", str(ended))


def _unheard(server: socket.socket, *, stream: bool) -> tuple[bool, str]:
    try:
        heard = server.accept()[1] if stream else server.recv(100)
    except BlockingIOError:
        return True, "nothing"
    return False, f"heard {heard!r}"


# --- as somebody else --------------------------------------------------------------------------------------------

LEAVES = (
    "__init__",
    "errors",
    "escape",
    "events",
    "lang/__init__",
    "lang/profile_files",
    "tool_marks",
    "tools/workspace",
)
FOLDERS = ("ports", "tools/sandbox")


def python_of_everybody() -> str | None:
    """A Python that any user can run, of at least our version; None where there is none."""
    for program in (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
        path = Path(program)
        if path.exists() and all(folder.stat().st_mode & 0o005 == 0o005 for folder in path.parents):
            said = subprocess.run(
                [program, "-c", "import sys; print(sys.version_info >= (3, 11))"], capture_output=True
            )
            if said.stdout == b"True\n":
                return program
    return None


def attack_as_nobody(python: str) -> list[Try]:
    """The same by a user who has nothing, with what of the package it needs in a folder that it can read."""
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        root = Path(folder)
        root.chmod(0o755)
        for name in FOLDERS:
            shutil.copytree(PACKAGE / name, root / "gptoss_flow" / name)
        (root / "gptoss_flow/tools/__init__.py").touch()
        (root / "gptoss_flow/lang").mkdir()
        for name in LEAVES:
            shutil.copy(PACKAGE / f"{name}.py", root / f"gptoss_flow/{name}.py")
        for name in ("attack.py", "probes.py"):
            shutil.copy(HERE / name, root / name)
        done = subprocess.run(
            [python, "attack.py"],
            cwd=root,
            env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    assert done.returncode == 0, done.stderr
    return [Try(*json.loads(line)) for line in done.stdout.splitlines()]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        for one in attack(Path(folder)):
            print(json.dumps([one.name, one.blocked, one.said]))


if __name__ == "__main__":
    main()
