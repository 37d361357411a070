"""A sample of what `python -m tests.faults patch` does to patches at every place."""

from __future__ import annotations

import random
from pathlib import Path

from tests.conftest import need
from tests.faults.patches import Patching

KILLED = 20


def test_a_patch_that_is_killed_anywhere_leaves_the_old_files_or_the_new_ones(tmp_path: Path) -> None:
    need("strace")
    with Patching(tmp_path) as patching:
        calls = patching.calls()
        sample = random.Random(13).sample(calls, KILLED)
        faults = {call: fault for call in sample if (fault := patching.killed_at(*call))}
    assert faults == {}
