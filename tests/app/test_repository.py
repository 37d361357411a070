"""What git says of a folder goes into the record."""

from __future__ import annotations

import subprocess
from pathlib import Path

from gptoss_flow.app.repository import Repository, describe_repository
from tests.conftest import need


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=trunk"]
    return subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_outside_a_repository_there_is_nothing_to_tell(tmp_path: Path) -> None:
    assert describe_repository(tmp_path) == Repository()


def test_commit_branch_and_dirt_are_told(tmp_path: Path) -> None:
    need("git")
    git(tmp_path, "init", "-q")
    assert describe_repository(tmp_path).sha == "0000000"
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert describe_repository(tmp_path) == Repository(head, "trunk", False)
    (tmp_path / "a").write_text("2")
    assert describe_repository(tmp_path).dirty
