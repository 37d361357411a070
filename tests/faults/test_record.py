"""A sample of what `python -m tests.faults` does to runs at every place: killed, and out of room."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import need
from tests.faults.record_scenes import full_disk, killed_once, killed_twice, warmed
from tests.faults.stage import Stage
from tests.faults.unbroken import LOOP, unbroken
from tests.faults.warm import Warm

KILLED_ONCE, KILLED_TWICE, DISKS = 20, 8, 6


@pytest.fixture(scope="module")
def warm() -> Iterator[Warm]:
    need("strace")
    with warmed(Stage(Path("no model is needed"), None)) as process:
        yield process


def test_a_run_that_is_killed_anywhere_goes_on(warm: Warm) -> None:
    wanted, calls = unbroken(warm)
    sample = random.Random(1).sample(calls, KILLED_ONCE)
    faults = {call: fault for call in sample if (fault := killed_once(warm, wanted, *call))}
    assert faults == {}


def test_a_run_whose_model_does_something_once_is_killed_anywhere_and_does_it_once(warm: Warm) -> None:
    wanted, calls = unbroken(warm, LOOP)
    sample = random.Random(3).sample(calls, KILLED_ONCE)
    faults = {call: fault for call in sample if (fault := killed_once(warm, wanted, *call, flow=LOOP))}
    assert faults == {}


def test_a_resume_that_is_killed_too_is_resumed(warm: Warm) -> None:
    wanted, calls = unbroken(warm)
    chance = random.Random(2)
    for _ in range(KILLED_TWICE):
        first, second = chance.choice(calls), chance.choice(calls)
        assert killed_twice(warm, wanted, first, second) == "", (first, second)


def test_a_disk_that_is_full_ends_the_run_and_it_goes_on_when_there_is_room() -> None:
    need("mount")
    need("the right to mount", found=os.geteuid() == 0)
    figure = full_disk(Stage(Path("no model is needed"), DISKS))
    assert figure.met, figure.said
