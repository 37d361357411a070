"""The tool `python`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.errors import StepError
from gptoss_flow.ports import ToolContext
from gptoss_flow.testing.project import Project
from gptoss_flow.tools import TOOLS, python
from gptoss_flow.tools.python import LENGTH, Reply, read_reply
from gptoss_flow.tools.sandbox import bwrap
from tests.conftest import need
from tests.processes import gone_after

WELL = {"stdout": "", "stderr": "", "value": None, "error": None, "truncated": False, "timed_out": False}
Run = Callable[..., dict[str, Any]]


def children() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


@pytest.fixture
def cell(workspace: Path) -> Iterator[Run]:
    """Calls the tool, all calls in one step."""
    need("bwrap", found=bwrap.probe() is None)
    context = ToolContext(workspace=workspace)
    before = children()
    with asyncio.Runner() as runner:

        def cell(code: str, **arguments: Any) -> dict[str, Any]:
            result: dict[str, Any] = runner.run(TOOLS["python"].call({"code": code, **arguments}, context))
            return result

        yield cell
        runner.run(context.kept.aclose())
    assert children() <= before


def test_it_is_a_notebook(cell: Run) -> None:
    assert cell("x = 20\nprint('é')") == WELL | {"stdout": "é\n"}
    assert cell("def f(n):\n    return x + n\nf(1)") == WELL | {"value": "21"}
    assert cell("import sys; print(f(2), file=sys.stderr); _") == WELL | {"stderr": "22\n", "value": "21"}
    assert cell("None") == cell("") == cell("# nothing") == cell("y = 1;") == WELL
    assert cell("'a\\ud800\\n'")["value"] == "'a\\ud800\\n'"
    assert cell("class A:\n def __repr__(self): return '\\ud800'\nA()")["value"] == "?"


def test_an_exception_is_told_from_the_users_code_on(cell: Run) -> None:
    told = cell("def f():\n    return 1 / 0\nprint('before')\nf()")
    assert told["stdout"] == "before\n"
    assert told["error"].startswith(
        'Traceback (most recent call last):\n  File "<call 1>", line 4, in <module>\n    f()'
    )
    assert told["error"].endswith("ZeroDivisionError: division by zero") and "interpreter.py" not in told["error"]
    assert "SyntaxError: '(' was never closed" in cell("x = (")["error"]
    assert cell("raise SystemExit(3)")["error"] == "SystemExit: 3"
    assert cell("raise KeyboardInterrupt")["error"].endswith("KeyboardInterrupt")
    assert len(cell("def f(): f()\nf()")["error"].splitlines()) < 40
    strange = "class E(Exception):\n def __str__(self): raise ValueError\nraise E"
    assert "E" in cell(strange)["error"]
    assert cell("1") == WELL | {"value": "1"}


def test_what_was_defined_is_lost_with_the_interpreter_and_that_is_said(cell: Run) -> None:
    cell("x = 1")
    slow = cell("print('begun', flush=True)\nwhile True: pass", timeout_s=1)
    assert slow == WELL | {
        "stdout": "begun\n",
        "error": "not finished after 1 s, so it was ended: what was defined before is lost",
        "timed_out": True,
    }
    assert cell("x")["error"].endswith("NameError: name 'x' is not defined")
    assert cell("import os; os._exit(3)")["error"].startswith("the interpreter ended with exit code 3: what was")
    assert cell("import os; os.kill(os.getpid(), 9)")["error"].startswith(
        "the interpreter ended with exit code 137"
    )
    assert cell("2") == WELL | {"value": "2"}


def test_its_memory_ends_in_an_exception_first(cell: Run) -> None:
    assert cell("x = 5\nb = bytearray(1 << 40)")["error"].endswith("MemoryError")
    assert cell("x")["value"] == "5"


def test_a_flood_ends_it(cell: Run) -> None:
    with pytest.raises(StepError, match=r"^limit:output: more than 64 MiB"):
        cell("while True: print('x' * 100_000)")
    assert cell("1")["value"] == "1"
    cut = cell("print('y' * 10_000); 'z' * 10_000", max_output_bytes=100)
    assert cut["truncated"] and len(cut["stdout"]) < 200 and len(cut["value"]) < 200


def test_standard_input_is_empty_and_children_have_nothing_else(cell: Run) -> None:
    assert cell("input()")["error"].endswith("EOFError: EOF when reading a line")
    code = (
        "import subprocess; subprocess.run('ls /proc/self/fd', shell=True, capture_output=True, text=True).stdout"
    )
    assert cell(code)["value"] == repr("0\n1\n2\n3\n")  # 3 is the folder that ls reads.


def test_the_workspace_is_here_and_stands_in_for_nothing(cell: Run, workspace: Path) -> None:
    (workspace / "mine.py").write_text("ANSWER = 42\n")
    (workspace / "json.py").write_text("raise SystemExit('not this one')\n")
    (workspace / "sitecustomize.py").write_text("raise SystemExit('nor this')\n")
    assert cell("import mine, json; json.dumps(mine.ANSWER)")["value"] == "'42'"
    cell("open('written', 'w').write('x')")
    assert (workspace / "written").read_text() == "x"


FORGED = """
import os, struct, json, gc
data = json.dumps({"nonce": "0" * 32, "value": "forged", "error": None}).encode()
for fd in range(3, 20):
    try: os.write(fd, struct.pack(">I", len(data)) + data)
    except OSError: pass
"""


def test_what_the_code_writes_into_the_channel_is_no_reply(cell: Run) -> None:
    with pytest.raises(StepError, match="wrote into the interpreter's channel"):
        cell(FORGED)
    assert cell("1 + 1")["value"] == "2"


def test_a_step_that_is_cancelled_leaves_no_interpreter(workspace: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)

    async def cancelled() -> None:
        context = ToolContext(workspace=workspace)
        call, before = TOOLS["python"].call, children()
        await call({"code": "x = 1"}, context)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await call({"code": "import time; time.sleep(60)"}, context)
        assert children() <= before
        assert "NameError" in (await call({"code": "x"}, context))["error"]
        await context.kept.aclose()

    asyncio.run(cancelled())


def test_calls_of_one_turn_wait_for_each_other(workspace: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)

    async def at_once() -> list[Any]:
        context = ToolContext(workspace=workspace)
        codes = ["n = 0", *["n += 1; n"] * 5]
        results = await asyncio.gather(*(TOOLS["python"].call({"code": code}, context) for code in codes))
        await context.kept.aclose()
        return [result["value"] for result in results]

    assert asyncio.run(at_once()) == [None, "1", "2", "3", "4", "5"]


FLOW = """\
version: 1
steps:
  a:
    prompt: {user: What is 6 times 7?, tools: [python]}
"""
CALLS = [
    {"turn": 1, "tool_calls": [{"tool": "python", "arguments": "x = 6"}]},
    {"turn": 2, "tool_calls": [{"tool": "python", "arguments": {"code": "print(x * 7)\nx / 0"}}]},
    {"contains": "ZeroDivisionError", "text": "42"},
]


def test_a_model_calls_it_as_gpt_oss_does_and_it_remembers_within_the_step(tmp_path: Path) -> None:
    need("bwrap", found=bwrap.probe() is None)
    project = Project(tmp_path)
    project.write("flow.yaml", FLOW)
    project.write("replies.yaml", json.dumps({"replies": CALLS}))
    done = project.run("run", "flow.yaml", "--model", "scripted:replies.yaml")
    assert (done.code, done.out) == (0, "42\n"), done.err
    results = [event["result"] for event in project.events() if event["type"] == "tool_finished"]
    assert [result["stdout"] for result in results] == ["", "42\n"]
    gone_after(tmp_path, 1.0)


@given(st.binary(max_size=60), st.integers(0, 80))
def test_a_reply_that_is_none_is_refused_or_waited_for(data: bytes, length: int) -> None:
    for given_data in (data, LENGTH.pack(length) + data):
        try:
            reply = read_reply(given_data, "n", 10)
        except StepError:
            continue
        assert reply is None and len(given_data) < 4 + (
            LENGTH.unpack_from(given_data)[0] if len(given_data) > 3 else 0
        )


def test_a_reply_is_bounded_text_with_the_nonce_of_its_request() -> None:
    def packed(reply: Any) -> bytes:
        data = json.dumps(reply).encode()
        return LENGTH.pack(len(data)) + data

    good = {"nonce": "n", "value": "v" * 1000, "error": None}
    assert read_reply(packed(good), "n", 10) == Reply("v" * 110, None)
    assert read_reply(packed(good)[:-1], "n", 10) is None
    deep = LENGTH.pack(60_000) + b"[" * 60_000
    wrong = (good | {"nonce": "m"}, good | {"value": 1}, {"nonce": "n"}, [], "n")
    for data in (*map(packed, wrong), packed(good) + b"x", LENGTH.pack(2**31), deep):
        with pytest.raises(StepError, match="wrote into"):
            read_reply(data, "n", 10)
    assert python.PYTHON.effect == "once"
