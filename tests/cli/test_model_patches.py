"""A model patches files and shows panes: what it hears of a patch that does not fit, and what is seen of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gptoss_flow.events import ToolFinished
from tests.cli.taken_up import Runs

FLOW = """\
version: 1
steps:
  fix:
    prompt:
      user: Fix app.py.
      tools: [apply_patch, ui_pane, search_text]
"""
WRONG = "*** Begin Patch\\n*** Update File: app.py\\n@@\\n-  return a - b\\n+    return a + b\\n*** End Patch"
RIGHT = WRONG.replace("-  return a - b", "-    return a - b # sum")
REPLIES = f"""\
replies:
  - turn: 1
    tool_calls:
      - {{tool: ui_pane, arguments: {{action: create, id: fix, title: "Fixing <app.py>", frame: nefrex}}}}
      - {{tool: search_text, arguments: {{pattern: "a - b", glob: "*.py"}}}}
  - turn: 2
    tool_calls: [{{tool: apply_patch, arguments: {{patch: "{WRONG}"}}}}]
  - turn: 3
    tool_calls: [{{tool: apply_patch, arguments: {{patch: "{RIGHT}"}}}}]
  - turn: 4
    tool_calls: [{{tool: apply_patch, arguments: {{patch: "{RIGHT.replace("app.py", "../app.py")}"}}}}]
  - turn: 5
    text: done
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runs:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Runs(tmp_path, capsys)


def test_a_model_is_told_what_comes_nearest_and_then_fits(runs: Runs) -> None:
    runs.write("flow.yaml", FLOW)
    runs.write("replies.yaml", REPLIES)
    runs.write("app.py", "def add(a, b):\n    return a - b # sum\n")
    done = runs.run()
    assert done.code == 0, done.err
    assert json.loads(done.out)["steps"]["fix"]["output"] == "done"
    assert (runs.folder / "app.py").read_text() == "def add(a, b):\n    return a + b\n"
    calls = [event for event in runs.events() if isinstance(event, ToolFinished)]
    assert [(call.tool, bool(call.error)) for call in calls] == [
        ("ui_pane", False),
        ("search_text", False),
        ("apply_patch", True),
        ("apply_patch", False),
        ("apply_patch", True),
    ]
    assert calls[1].result["results"] == [{"path": "app.py", "line": 2, "text": "    return a - b # sum"}]
    assert "2 |     return a - b # sum" in str(calls[2].error)
    assert "is not relative to the workspace; a patch changes nothing outside" in str(calls[4].error)
    report = runs.do("report", "-o", "r.html")
    assert report.code == 0, report.err
    page = (runs.folder / "r.html").read_text()
    assert "pane frame-nefrex" in page
    assert "Fixing &lt;app.py&gt;" in page
    undone = runs.do("tools", "call", "undo_patch", f"id={calls[3].result['undo']}")
    assert undone.code == 0, undone.err
    assert "a - b # sum" in (runs.folder / "app.py").read_text()
