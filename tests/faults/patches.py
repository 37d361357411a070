"""Patches under kill -9 and against a tree that changes: the old files or the new ones, and nothing outside."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

from tests.faults.stage import Figure, Scene, Stage, Tally
from tests.tools.conftest import plant, tree
from tests.tools.race import raced

CALLS = (
    "write", "fsync", "rename", "renameat", "renameat2", "openat", "openat2", "mkdir", "mkdirat",
    "unlink", "unlinkat", "link", "linkat", "fchmod", "rmdir", "flock",
)  # fmt: skip
"""What a change of files is made with."""
OLD: Mapping[str, bytes] = {
    "a.txt": b"one\ntwo\n",
    "d/b.txt": b"three\r\n",
    "gone.txt": b"gone\n",
    "name": b"a file\n",
    "run.sh": b"echo\n",
}
NEW: Mapping[str, bytes] = {
    "a.txt": b"one\n2\n",
    "d/b.txt": b"3\r\n",
    "name/inside": b"a folder now\n",
    "moved.sh": b"echo 1\n",
    "new/deep/c.txt": b"new\n",
}
PATCH = """\
*** Begin Patch
*** Update File: a.txt
@@
-two
+2
*** Update File: d/b.txt
@@
-three
+3
*** Delete File: gone.txt
*** Delete File: name
*** Add File: name/inside
+a folder now
*** Update File: run.sh
*** Move to: moved.sh
@@
-echo
+echo 1
*** Add File: new/deep/c.txt
+new
*** End Patch
"""
CALL = """\
import asyncio, os, signal, sys
from pathlib import Path
from unittest.mock import patch
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools import TOOLS
arguments = {"patch": sys.stdin.read(), "dry_run": sys.argv[2] == "dry"}
if sys.argv[2] == "stop":
    os.kill(os.getpid(), signal.SIGSTOP)
TOOLS["apply_patch"].work(TOOLS["apply_patch"].arguments(**arguments), ToolContext(workspace=Path(sys.argv[1])))
"""
"""A process that applies a patch from its standard input, in its only thread; `stop`: it stops before it does."""


def prepared(workspace: Path) -> None:
    plant(workspace, OLD)
    (workspace / "run.sh").chmod(0o755)


def undone(workspace: Path) -> None:
    """An empty workspace."""
    shutil.rmtree(workspace)
    workspace.mkdir()


class Patching:
    """Processes that patch a workspace of their own, each under strace."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self._log = folder / "workspace", folder / "trace"
        self.workspace.mkdir()
        self._environ = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "PYTHONDONTWRITEBYTECODE": "1"}

    def patch(self, *, inject: str = "", dry_run: bool = False) -> tuple[int, list[str]]:
        """Apply the patch, as far as that goes: the exit code, and each call that was made."""
        how = "dry" if dry_run else "stop"
        process = subprocess.Popen(
            [sys.executable, "-c", CALL, str(self.workspace), how],
            env=self._environ,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(PATCH)
        process.stdin.close()
        if not dry_run:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            command = ["strace", "-o", str(self._log), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
            command += ["-e", f"inject={inject}"] if inject else []
            tracer = subprocess.Popen([*command, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True)
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            os.kill(process.pid, signal.SIGCONT)
            tracer.communicate(timeout=30)
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()
        code = process.wait(30)
        assert dry_run or code in (0, -signal.SIGKILL), said
        return code, self._log.read_text("utf-8", "replace").splitlines() if not dry_run else []

    def calls(self) -> list[tuple[str, int]]:
        """Each call that an undisturbed patch makes, as its name and its number among those of that name."""
        undone(self.workspace)
        prepared(self.workspace)
        code, lines = self.patch()
        assert code == 0
        assert tree(self.workspace) == NEW
        counted = dict[str, int]()
        found = []
        for line in lines:
            name = line.partition("(")[0]
            if name in CALLS:
                counted[name] = counted.get(name, 0) + 1
                found.append((name, counted[name]))
        return found

    def killed_at(self, call: str, number: int) -> str | None:
        """What is wrong after kill -9 at that call and another process's call; None where it was not killed."""
        undone(self.workspace)
        prepared(self.workspace)
        code, _ = self.patch(inject=f"{call}:signal=SIGKILL:when={number}")
        if code == 0:
            return None
        self.patch(dry_run=True)  # fails where the patch is in already; what is half done is taken back before
        found = tree(self.workspace)
        if found not in (OLD, NEW):
            return f"neither old nor new: {found}"
        modes = {path.stat().st_mode & 0o777 for path in self.workspace.glob("*.sh")}
        return "" if modes == {0o755} else f"modes {modes}"


def killed_everywhere(stage: Stage) -> Figure:
    """F13: kill -9 at every call that a patch of seven files makes: the old tree or the new one."""
    if shutil.which("strace") is None:
        return Figure("not played: needs strace", True)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="patch-") as folder:
        patching = Patching(Path(folder))
        calls = patching.calls()
        for call, number in random.sample(calls, min(stage.rounds or len(calls), len(calls))):
            fault = patching.killed_at(call, number)
            if fault is not None:
                tally.add(f"{call} {number}: {fault}" if fault else "")
    return tally.figure()


def race(stage: Stage) -> Figure:
    """F12: a folder is swapped for a link to outside while it is patched: nothing is written there."""
    rounds = stage.rounds or 10_000
    own_state = tempfile.TemporaryDirectory(prefix="race-")
    with own_state as folder, patch.dict(os.environ, {"XDG_STATE_HOME": f"{folder}/state"}):
        figure = raced(Path(folder), rounds)
    wrong = "; ".join(figure.wrong)
    said = f"{rounds} patches, {figure.made} made, {rounds - figure.made} refused, {len(figure.wrong)} outside"
    return Figure(f"{said}{'; ' if wrong else ''}{wrong}", not figure.wrong and figure.made > 0)


SCENES: dict[str, Scene] = {"patch-race": race, "patch-kill": killed_everywhere}
