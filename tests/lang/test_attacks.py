"""Whatever a flow file is, reading it ends soon, in little memory, with a plan or `Invalid` (rows D01 to D14)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lang.attacks import ATTACKS

ROOT = Path(__file__).parents[2]
SAID = {
    "laughs": "the aliases stand for more than 100,000 values",
    "merge bomb": "more than 50 aliases",
    "depth": "more than 64 levels of nesting",
    "digits": "has 1000000 digits",
    "profile /dev/zero": "not a regular file",
    "profile ./fifo.yaml": "not a regular file",
    "flow ./fifo.yaml": "not a regular file",
    "profile ./huge.yaml": "the file is too large",
    "flow /tmp": "it is a directory",
    "chain of profiles": "more than 32 deep",
    "axes": "1,000,000,000,000,000 cells; at most 10,000",
    "circle": "steps need each other in a circle",
}


def _limits() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (240, 250))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, Any]]:
    child = subprocess.run(
        [sys.executable, "-m", "tests.lang.attacks"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        preexec_fn=_limits,
        timeout=600,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-2000:]
    return {result["attack"]: result for result in map(json.loads, child.stdout.splitlines())}


def test_every_attack_is_refused_or_harmless(results: dict[str, dict[str, Any]]) -> None:
    assert results.keys() == ATTACKS.keys()
    harmless = {name for name, result in results.items() if result["ended"] == "plan"}
    assert harmless == {"cells of 4 MB"}


def test_no_attack_takes_long_or_much_memory(results: dict[str, dict[str, Any]]) -> None:
    assert [result for result in results.values() if result["s"] > 8 or result["mb"] > 512] == []


@pytest.mark.parametrize("name", SAID)
def test_a_refusal_says_what_is_wrong(results: dict[str, dict[str, Any]], name: str) -> None:
    assert SAID[name] in results[name]["said"]
