"""The tool `repo_files`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.tools.conftest import Call, plant

LONG = "a line of some words that tell something\n" * 4


def test_the_most_telling_files_come_first_each_cut_to_whole_lines(call: Call, workspace: Path) -> None:
    plant(workspace, {"p/README.md": LONG, "p/src/main.py": LONG + LONG, "p/tests/test_main.py": LONG})
    assert call("repo_files", root="p", limit=2, max_bytes=100) == {
        "root": "p",
        "files": [
            {"path": "README.md", "text": LONG[:82], "bytes": 164, "truncated": True},
            {"path": "src/main.py", "text": LONG[:82], "bytes": 328, "truncated": True},
        ],
        "total": 3,
        "skipped": {},
    }


def test_a_file_that_fits_is_whole(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.py": LONG})
    assert call("repo_files", max_bytes=164)["files"] == [
        {"path": "a.py", "text": LONG, "bytes": 164, "truncated": False},
    ]


def test_a_cut_falls_between_characters(call: Call, workspace: Path) -> None:
    plant(workspace, {"a.py": "é" * 5000})
    (file,) = call("repo_files", max_bytes=9001)["files"]
    assert file == {"path": "a.py", "text": "é" * 4500, "bytes": 10_000, "truncated": True}


def test_what_is_no_text_is_counted_by_reason(call: Call, workspace: Path) -> None:
    plant(
        workspace,
        {
            ".gitignore": "ignored/\n# a line that makes this file long enough to tell\n",
            "ignored/x.py": LONG,
            "late_nul.py": "x" * 8000 + "\0",
            "latin.py": b"\xe9" * 100,
            "large.py": "x\n" * (1 << 19) + "x",
            "empty.py": "",
            "blank.py": "\n" * 100,
            "excluded.py": LONG,
            "good.py": LONG,
        },
    )
    (workspace / "link.py").symlink_to("good.py")
    os.mkfifo(workspace / "fifo.py")
    result = call("repo_files", max_bytes=50, exclude=["/excluded.py"])
    assert [file["path"] for file in result["files"]] == ["good.py", ".gitignore"]
    assert result["total"] == 7
    assert result["skipped"] == {
        "ignored": 1, "excluded": 1, "links": 1, "special": 1, "binary": 2, "large": 1, "empty": 2,
    }  # fmt: skip


def test_an_empty_tree_gives_no_files(call: Call) -> None:
    assert call("repo_files") == {"root": ".", "files": [], "total": 0, "skipped": {}}


def test_a_tree_that_the_user_gave_is_read_wherever_it_lies(call: Call, workspace: Path) -> None:
    plant(workspace.parent, {"other/a.py": LONG})
    result = call("repo_files", root="../other", readable=(workspace.parent / "other",))
    assert [file["path"] for file in result["files"]] == ["a.py"]
