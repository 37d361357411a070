"""The tool `list_files`."""

from __future__ import annotations

from pathlib import Path

from tests.tools.conftest import Call, plant


def test_files_are_listed_by_path_with_their_sizes(call: Call, workspace: Path) -> None:
    plant(workspace, {"b": "12", "a/x.py": "1", "a/b/y.py": "", ".gitignore": "*.log", "x.log": ""})
    assert call("list_files") == [
        {"path": ".gitignore", "bytes": 5},
        {"path": "a/b/y.py", "bytes": 0},
        {"path": "a/x.py", "bytes": 1},
        {"path": "b", "bytes": 2},
    ]
    assert call("list_files", path="a") == [{"path": "b/y.py", "bytes": 0}, {"path": "x.py", "bytes": 1}]
    assert [f["path"] for f in call("list_files", pattern="*.py")] == ["a/b/y.py", "a/x.py"]
    assert call("list_files", pattern="*.rs") == []


def test_a_limit_keeps_the_nearest(call: Call, workspace: Path) -> None:
    plant(workspace, {"a/deep": "", "z": "", "y": ""})
    assert [f["path"] for f in call("list_files", limit=2)] == ["y", "z"]
