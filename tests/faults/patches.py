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

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.apply_patch.tool import ApplyPatch, apply_patch
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


def prepared(workspace: Path) -> None:
    plant(workspace, OLD)
    (workspace / "run.sh").chmod(0o755)


def undone(workspace: Path) -> None:
    """An empty workspace."""
    shutil.rmtree(workspace)
    workspace.mkdir()


class Patching:
    """Processes that patch a workspace of their own: forks of one that has all imported, each under strace."""

    def __init__(self, folder: Path) -> None:
        self.workspace, self._log = folder / "workspace", folder / "trace"
        self.workspace.mkdir()
        self._warm = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.patches", str(self.workspace)],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "XDG_STATE_HOME": str(folder / "state")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Patching:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.close()
        self._warm.wait(30)
        self._warm.stdout.close()

    def patch(self, *, inject: str = "") -> tuple[int, list[str]]:
        """Apply the patch, as far as that goes: the exit code, and each call that was made."""
        pid = self._ask("stopped")
        command = ["strace", "-o", str(self._log), "-e", f"trace={','.join(CALLS)}", "-e", "signal=none"]
        command += ["-e", f"inject={inject}"] if inject else []
        tracer = subprocess.Popen([*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        os.kill(pid, signal.SIGCONT)
        tracer.communicate(timeout=30)
        return self._ask(f"wait {pid}"), self._log.read_text("utf-8", "replace").splitlines()

    def take_back(self) -> None:
        """Call for a dry run, which fails where the patch is in; what is half done is taken back before that."""
        self._ask(f"wait {self._ask('dry')}")

    def _ask(self, what: str) -> int:
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write(what + "\n")
        self._warm.stdin.flush()
        return int(self._warm.stdout.readline())

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
        """What is wrong after kill -9 at that call, and another process's; None where it was not killed."""
        undone(self.workspace)
        prepared(self.workspace)
        code, _ = self.patch(inject=f"{call}:signal=SIGKILL:when={number}")
        if code == 0:
            return None
        return self._fault()

    def killed_twice(self, first: tuple[str, int], second: tuple[str, int]) -> str:
        """The same, with kill -9 of the next patch as well, which takes the first one back if it gets so far."""
        undone(self.workspace)
        prepared(self.workspace)
        for call, number in (first, second):
            self.patch(inject=f"{call}:signal=SIGKILL:when={number}")
        return self._fault()

    def _fault(self) -> str:
        self.take_back()
        found = tree(self.workspace)
        found.pop(".gptoss-flow/", None)  # an empty folder may be left of it
        if found not in (OLD, NEW):
            return f"neither old nor new: {found}"
        modes = {path.stat().st_mode & 0o777 for path in self.workspace.glob("*.sh")}
        return "" if modes == {0o755} else f"modes {modes}"


def killed_everywhere(stage: Stage) -> Figure:
    """F13: kill -9 at every call that a patch of seven files makes: the old tree or the new one."""
    if shutil.which("strace") is None:
        return Figure("not played: needs strace", True)
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="patch-") as folder, Patching(Path(folder)) as patching:
        calls = patching.calls()
        for call, number in random.sample(calls, min(stage.rounds or len(calls), len(calls))):
            fault = patching.killed_at(call, number)
            if fault is not None:
                tally.add(f"{call} {number}: {fault}" if fault else "")
    return tally.figure()


def killed_again(stage: Stage) -> Figure:
    """F13: the same, and kill -9 of the one that takes it back."""
    if shutil.which("strace") is None:
        return Figure("not played: needs strace", True)
    tally, chance = Tally(), random.Random(13)
    with tempfile.TemporaryDirectory(prefix="patch-") as folder, Patching(Path(folder)) as patching:
        calls = patching.calls()
        for _ in stage.times(150):
            first, second = chance.choice(calls), chance.choice(calls)
            fault = patching.killed_twice(first, second)
            tally.add(f"{first}, {second}: {fault}" if fault else "")
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


SCENES: dict[str, Scene] = {"patch-race": race, "patch-kill": killed_everywhere, "patch-kill-twice": killed_again}


# --- the process that is forked -------------------------------------------------------------------------------


def serve(workspace: Path) -> None:
    for line in sys.stdin:
        what, _, number = line.strip().partition(" ")
        if what == "wait":
            _, status = os.waitpid(int(number), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _be(workspace, what)
        if what == "stopped":
            os.waitpid(pid, os.WUNTRACED)
        print(pid, flush=True)


def _be(workspace: Path, what: str) -> None:
    """A process that patches. `stopped`: it stops before it does."""
    code = 1
    try:
        if what == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        apply_patch(ApplyPatch(patch=PATCH, dry_run=what == "dry"), ToolContext(workspace=workspace))
        code = 0
    except StepError:
        pass  # the one before was made whole: its lines are no longer there
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
