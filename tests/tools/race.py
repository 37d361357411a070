"""Patches of a folder that another thread swaps, all the while, for a link to a folder outside."""

from __future__ import annotations

import ctypes
import os
import random
import threading
from dataclasses import dataclass, field
from pathlib import Path

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.apply_patch.tool import ApplyPatch, apply_patch
from tests.tools.conftest import plant, tree

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD, RENAME_EXCHANGE = -100, 2
PATCHES = [
    "*** Update File: d/secret\n@@\n-x\n+y",
    "*** Update File: d/secret\n@@\n-y\n+x",
    "*** Add File: d/new\n+x",
    "*** Delete File: d/new",
    "*** Update File: d/moved\n*** Move to: d/to",
    "*** Update File: d/to\n*** Move to: d/moved",
    "*** Delete File: d/secret\n*** Add File: d/deep/er\n+x",
    "*** Delete File: d/deep/er\n*** Add File: d/secret\n+x",
]


@dataclass
class Raced:
    made: int = 0
    wrong: list[str] = field(default_factory=list)


def raced(folder: Path, rounds: int) -> Raced:
    """So many patches; `wrong` is what they did outside the workspace."""
    workspace, outside = folder / "raced", folder / "elsewhere"
    plant(outside, {"secret": "x\n", "moved": "x\n"})
    plant(workspace, {"d/secret": "x\n", "d/moved": "x\n"})
    (workspace / "evil").symlink_to(outside)
    before, done, result = tree(outside), threading.Event(), Raced()

    def swap() -> None:
        one, other = (os.fsencode(workspace / name) for name in ("d", "evil"))
        chance = random.Random(1)
        is_link = False
        # Mostly what it should be, and a link at any moment for some microseconds: so that patches get far.
        while is_link or not done.wait(0 if is_link else chance.random() / 300):
            is_link = not is_link
            assert LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, RENAME_EXCHANGE) == 0

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for number in range(rounds):
            patch = f"*** Begin Patch\n{PATCHES[number % len(PATCHES)]}\n*** End Patch\n"
            try:
                apply_patch(ApplyPatch(patch=patch), ToolContext(workspace=workspace))
                result.made += 1
            except StepError:
                pass
            if tree(outside) != before:
                result.wrong.append(f"round {number}: {tree(outside)}")
                break
    finally:
        done.set()
        swapper.join()
    return result
