"""A model that may write files writes none of what the flow is made of, where the flow does not say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.events import ToolFinished
from gptoss_flow.tools.sandbox.bwrap import probe
from tests.cli.taken_up import Runs
from tests.conftest import need
from tests.tools.conftest import plant, tree

FLOW = """\
version: 1
tool_servers: {{team: {{command: [python3, server.py]}}}}
servers: {{main: mine.yaml}}
steps:
  fix:
    prompt:
      user: Fix it.
      schema: answer.json
      tools: [write_file, apply_patch, shell, "./own.py:count"]
      {more}
  inside: {{flow: ./inner.yaml}}
"""
OWN = {
    "flow.yaml": FLOW.format(more=""),
    "inner.yaml": "version: 1\nsteps: {a: {set: {b: 1}}}\n",
    "mine.yaml": "version: 1\nname: mine\nextends: theirs\nbinary: ./engine\n",
    "profiles/theirs.yaml": "version: 1\nname: theirs\nextends: demo\n",
    "own.py": "def count(text: str) -> int:\n    return len(text)\n",
    "answer.json": '{"type": "object"}\n',
    "server.py": "print()\n",
    "engine": "#!/bin/sh\n",
}
NEW = ["flow.lock", "profiles/local.yaml", "profiles/deep/local.yaml"]
ALLOWED = "permissions: {own_files: true}"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path.parent / "state"))
    plant(tmp_path, OWN)
    return Runs(tmp_path, capsys)


def calls(runs: Runs, *made: dict[str, object]) -> list[ToolFinished]:
    """What came of these calls of the model."""
    turns = [{"turn": n + 1, "tool_calls": [call]} for n, call in enumerate(made)]
    runs.write("replies.yaml", json.dumps({"replies": [*turns, {"text": "{}"}]}))
    done = runs.run("--set", "steps.fix.prompt.max_turns=40")
    assert done.code == 0, done.err
    return [event for event in runs.events() if isinstance(event, ToolFinished)]


def write(path: str) -> dict[str, object]:
    return {
        "tool": "write_file",
        "arguments": {"path": path, "content": "x", "mode": "overwrite", "parents": True},
    }


def test_what_the_flow_is_made_of_is_written_by_no_tool(runs: Runs) -> None:
    before = tree(runs.folder)
    drop = "*** Begin Patch\n*** Delete File: mine.yaml\n*** End Patch"
    paths = [*OWN, *NEW, "Flow.YAML", "./profiles/../flow.yaml", str(runs.folder / "own.py")]
    came = calls(runs, *map(write, paths), {"tool": "apply_patch", "arguments": {"patch": drop}}, write("app.py"))
    *refused, last = came
    for path, call in zip([*paths, "mine.yaml"], refused, strict=True):
        assert "is part of what the flow is made of" in str(call.error), path
        assert str(call.error).endswith("only where the flow says permissions: {own_files: true}"), path
    assert last.error is None
    after = {path: data for path, data in tree(runs.folder).items() if not path.startswith(".gptoss-flow")}
    assert after.items() - before.items() == {("app.py", b"x"), ("replies.yaml", after["replies.yaml"])}


def test_a_flow_that_says_so_lets_them_be_written(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW.format(more=ALLOWED))
    [one, other] = calls(runs, write("own.py"), write("profiles/new.yaml"))
    assert (one.error, other.error) == (None, None)
    assert (runs.folder / "own.py").read_text() == "x"


def test_a_folder_called_profiles_with_none_in_it_is_anybodys(runs: Runs) -> None:
    """But for what would be the first one."""
    need("bubblewrap", found=probe() is None)
    plant(runs.folder, {"mine.yaml": "version: 1\nname: mine\nextends: demo\n", "profiles/views.py": "old"})
    (runs.folder / "profiles/theirs.yaml").unlink()
    line = {"tool": "shell", "arguments": {"command": "echo y > profiles/models.py"}}
    views, first, shell = calls(runs, write("profiles/views.py"), write("profiles/local.yml"), line)
    assert (views.error, shell.error) == (None, None)
    assert "is part of what the flow is made of" in str(first.error)
    found = {path.name: path.read_text() for path in (runs.folder / "profiles").iterdir()}
    assert found == {"views.py": "x", "models.py": "y\n"}


def test_no_folder_becomes_the_projects(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a flow that lies elsewhere: who calls it below the project's folder finds that one's profiles."""
    plant(runs.folder, {".git/HEAD": "", "below/here/x": ""})
    monkeypatch.chdir(runs.folder / "below/here")
    made = [{"turn": 1, "tool_calls": [write("profiles/local.yaml")]}, {"text": "{}"}]
    runs.write("below/here/replies.yaml", json.dumps({"replies": made}))
    done = runs.run(flow="../../flow.yaml")
    assert done.code == 0, done.err
    assert not Path("profiles").exists()


def test_in_the_sandbox_they_are_only_read(runs: Runs) -> None:
    need("bubblewrap", found=probe() is None)
    line = f"for f in {' '.join(OWN)}; do echo x >> $f; rm -f $f; done; mv profiles p; echo y > app.py"
    [came] = calls(runs, {"tool": "shell", "arguments": {"command": line}})
    assert came.error is None
    assert {path: (runs.folder / path).read_text() for path in OWN} == OWN
    assert (runs.folder / "app.py").read_text() == "y\n"
    runs.write("flow.yaml", FLOW.format(more=ALLOWED))
    assert calls(runs, {"tool": "shell", "arguments": {"command": "echo x > own.py"}})[0].error is None
    assert (runs.folder / "own.py").read_text() == "x\n"
