"""The tool `search_text`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gptoss_flow.errors import StepError
from tests.tools.conftest import Call, plant


def places(found: dict) -> list[str]:  # type: ignore[type-arg]
    return [f"{each['path']}:{each['line']}" for each in found["results"]]


def test_lines_are_found_by_text_with_their_places(call: Call, workspace: Path) -> None:
    plant(workspace, {"b.py": "x\r\na.b(1)\r\n", "a/c.py": "a.b\nxaxb\na.b", "d.md": "a.b"})
    found = call("search_text", pattern="a.b")
    assert found["results"][2] == {"path": "b.py", "line": 2, "text": "a.b(1)"}
    assert places(found) == ["a/c.py:1", "a/c.py:3", "b.py:2", "d.md:1"]
    assert (found["files_searched"], found["files_skipped"], found["more"]) == (3, 0, False)
    assert places(call("search_text", pattern="a.b", glob="*.md")) == ["d.md:1"]
    assert places(call("search_text", pattern="A.B", path="a", ignore_case=True)) == ["a/c.py:1", "a/c.py:3"]
    assert places(call("search_text", pattern="a.b", path="b.py")) == ["b.py:2"]


def test_an_expression_is_re2s(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "def f():\n  def g(x):\n"})
    assert places(call("search_text", pattern=r"^\s+def \w+\(", regex=True)) == ["a:2"]
    assert places(call("search_text", pattern=r"DEF", regex=True, ignore_case=True)) == ["a:1", "a:2"]
    for wrong in ("(", r"(a)\1", "(?=a)"):
        with pytest.raises(StepError, match=r"no expression that RE2 understands: [a-z][^']+"):
            call("search_text", pattern=wrong, regex=True)


def test_a_hostile_expression_takes_linear_time(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "a" * 100_000})
    began = time.process_time()
    assert places(call("search_text", pattern="(a+)+$|(a|a)*b", regex=True)) == ["a:1"]
    assert time.process_time() - began < 2


def test_what_is_ignored_binary_or_no_file_is_left_out(call: Call, workspace: Path) -> None:
    plant(workspace, {".gitignore": "*.log\n", "x.log": "find", "bin": "\0find", "ok": "find", ".git/x": "find"})
    (workspace / "link").symlink_to("ok")
    found = call("search_text", pattern="find")
    assert places(found) == ["ok:1"]
    assert found["files_skipped"] == 1


def test_results_are_bounded_and_say_so(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "x\n" * 5, "b": "x\n"})
    found = call("search_text", pattern="x", max_results=5)
    assert (places(found), found["more"]) == ([f"a:{n}" for n in range(1, 6)], True)
    assert call("search_text", pattern="x", max_results=6)["more"] is False


def test_lines_around_and_a_long_line_cut_around_what_was_found(call: Call, workspace: Path) -> None:
    plant(workspace, {"a": "1\n2\n" + "y" * 5000 + "here" + "z" * 5000 + "\n4\n5\n"})
    (found,) = call("search_text", pattern="here", context_lines=2)["results"]
    assert (found["before"], found["after"]) == (["1", "2"], ["4", "5"])
    assert "here" in found["text"]
    assert found["text"].startswith("…y")
    assert found["text"].endswith("z…")
    assert len(found["text"]) == 402


def test_a_folder_that_is_not_there_or_lies_elsewhere_is_refused(call: Call, workspace: Path) -> None:
    with pytest.raises(StepError, match='"none" does not exist'):
        call("search_text", pattern="x", path="none")
    with pytest.raises(StepError, match="outside the workspace"):
        call("search_text", pattern="root", path="/etc")
