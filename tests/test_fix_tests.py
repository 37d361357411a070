"""The flow `fix-tests` on a small real project: real tests in the real sandbox, real patches, a scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.testing.project import Done, Project
from gptoss_flow.tools.sandbox import bwrap
from tests.conftest import need

FLOW = Path(__file__).parent.parent / "flows/fix-tests.yaml"
CODE = """\
def mean(numbers):
    return sum(numbers) / len(numbers) + 1


def spread(numbers):
    return max(numbers) - min(number)
"""
TESTS = """\
from stats import mean, spread


def test_mean():
    assert mean([1, 2, 3]) == 2


def test_spread():
    assert spread([4, 1, 3]) == 3
"""


def patch(old: str, new: str) -> str:
    return f"*** Begin Patch\n*** Update File: stats.py\n@@\n-{old}\n+{new}\n*** End Patch\n"


FIRST = patch("    return sum(numbers) / len(numbers) + 1", "    return sum(numbers) / len(numbers)")
SECOND = patch("    return max(numbers) - min(number)", "    return max(numbers) - min(numbers)")


def mending(contains: str, change: str) -> list[dict[str, Any]]:
    """A model that, told of this failure, reads the file, patches it, and says so."""
    return [
        {
            "contains": contains,
            "turn": 1,
            "tool_calls": [{"tool": "read_file", "arguments": {"path": "stats.py"}}],
        },
        {"contains": contains, "turn": 2, "tool_calls": [{"tool": "apply_patch", "arguments": {"patch": change}}]},
        {"contains": contains, "turn": 3, "text": "A slip in stats.py."},
    ]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    need("bwrap", found=bwrap.probe() is None)
    made = Project(tmp_path)
    made.write("stats.py", CODE)
    made.write("test_stats.py", TESTS)
    return made


def fixed(project: Project, replies: list[dict[str, Any]], *args: str) -> Done:
    replies_file = project.home / "replies.yaml"
    replies_file.write_text(json.dumps({"replies": replies, "default": "I do not know."}))
    return project.run("run", str(FLOW), "--json", "--model", f"scripted:{replies_file}", *args)


def codes(project: Project) -> list[int]:
    """The exit codes of the tests, in order."""
    events = project.events()
    return [e["result"]["exit_code"] for e in events if e["type"] == "tool_finished" and e["tool"] == "shell"]


def test_two_patches_make_the_tests_pass(project: Project) -> None:
    replies = mending("test_mean", FIRST) + mending("NameError", SECOND)
    done = fixed(project, replies)
    assert done.code == 0, done.err
    assert done.json["outputs"]["green"] is True and "2 passed" in done.json["outputs"]["said"]
    assert codes(project) == [1, 1, 0]
    assert (project.folder / "stats.py").read_text() == CODE.replace(" + 1", "").replace("(number)", "(numbers)")
    assert (project.folder / "test_stats.py").read_text() == TESTS


def test_what_passes_already_asks_no_model(project: Project) -> None:
    project.write("stats.py", CODE.replace(" + 1", "").replace("(number)", "(numbers)"))
    done = fixed(project, [])
    assert done.code == 0, done.err
    assert codes(project) == [0]
    assert not any(event["type"] == "prompt_rendered" for event in project.events())


def test_a_model_that_does_not_help_is_asked_as_often_as_said(project: Project) -> None:
    done = fixed(project, [], "-i", "patches=1")
    assert done.code == 5, done.err
    assert codes(project) == [1, 1]
    assert [event["type"] for event in project.events()].count("prompt_rendered") == 1
    assert (project.folder / "stats.py").read_text() == CODE
