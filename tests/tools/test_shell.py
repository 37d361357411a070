"""The tool `shell`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import ExitCode, Problem, StepError
from gptoss_flow.ports import Grants, ToolContext
from gptoss_flow.tools import TOOLS
from gptoss_flow.tools.sandbox import bwrap
from gptoss_flow.tools.sandbox.job import LIMITS
from gptoss_flow.tools.shell import MAX_OUTPUT_BYTES, beyond
from tests.conftest import need
from tests.tools.conftest import Call

WELL = {"exit_code": 0, "stdout": "", "stderr": "", "truncated": False, "timed_out": False}


@pytest.fixture
def sandbox() -> None:
    need("bwrap", found=bwrap.probe() is None)


@pytest.mark.usefixtures("sandbox")
def test_a_line_is_the_shells_and_a_list_is_nobodys(call: Call) -> None:
    line = 'printf "%s|" "$(echo a; echo b)" -rf "; rm"'
    assert call("shell", command=line) == WELL | {"stdout": "a\nb|-rf|; rm|"}
    words = ["printf", "%s|", "$(echo a)", "-rf", "; rm -rf /", "`id`", "a\nb", "--"]
    assert call("shell", command=words) == WELL | {"stdout": "$(echo a)|-rf|; rm -rf /|`id`|a\nb|--|"}


@pytest.mark.usefixtures("sandbox")
def test_a_failure_of_the_command_is_a_result(call: Call) -> None:
    assert call("shell", command="echo no >&2; exit 7") == WELL | {"exit_code": 7, "stderr": "no\n"}
    assert call("shell", command="sleep 60", timeout_s=0.5) == WELL | {"exit_code": None, "timed_out": True}
    cut = call("shell", command="seq 1000", max_output_bytes=20)
    assert cut["truncated"] and "bytes left out" in cut["stdout"]


@pytest.mark.usefixtures("sandbox")
def test_what_the_step_gives_is_in_the_environment(workspace: Path) -> None:
    context = ToolContext(workspace=workspace, env={"TOKEN": "x y"})
    said: Any = asyncio.run(TOOLS["shell"].call({"command": 'echo "$TOKEN"'}, context))
    assert said["stdout"] == "x y\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"command": ""}, "must not be empty"),
        ({"command": []}, "must not be empty"),
        ({"command": "a\0b"}, "NUL"),
        ({"command": ["a", "b\0"]}, "NUL"),
        ({"command": "a", "timeout_s": 0}, "at least 0.1"),
        ({"command": "a", "timeout_s": 1e9}, "at most 3600"),
        ({"command": "a", "max_output_bytes": MAX_OUTPUT_BYTES + 1}, "at most 1048576"),
        ({"command": "a", "cwd": "/"}, 'no argument "cwd"'),
        ({}, 'needs the argument "command"'),
    ],
)
def test_a_wrong_call_is_refused(call: Call, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(StepError, match=said):
        call("shell", **arguments)


def test_without_a_sandbox_nothing_runs(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(None, "no sandbox for tool code: because", "mend it")
    monkeypatch.setattr(bwrap, "probe", lambda: problem)
    context = ToolContext(workspace=workspace, grants=Grants(sandbox="bwrap"))
    for tool, arguments in (("shell", {"command": "touch ran"}), ("python", {"code": "open('ran', 'w')"})):
        with pytest.raises(StepError, match="because; mend it") as refused:
            asyncio.run(TOOLS[tool].call(arguments, context))
        assert refused.value.exit_code is ExitCode.UNAVAILABLE and not refused.value.retryable
    assert list(workspace.iterdir()) == []


def test_a_limit_is_an_error_that_begins_with_its_class() -> None:
    failure = beyond("memory", replace(LIMITS, memory_bytes=100 << 20), "the command")
    assert failure.kind == "tool" and failure.message.startswith("limit:memory: more than 100 MiB")
