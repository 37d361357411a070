"""What git says of the folder that a run was started in."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

NO_REPOSITORY_SHA = "0000000"


@dataclass(frozen=True, slots=True)
class Repository:
    sha: str = NO_REPOSITORY_SHA
    branch: str = ""
    dirty: bool = False


def describe_repository(folder: Path) -> Repository:
    """The commit, the branch, and whether tracked files differ; the defaults where git can't say."""
    command = ["git", "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return Repository()
    lines = done.stdout.splitlines()
    said = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    sha, branch = said.get("branch.oid", ""), said.get("branch.head", "")
    return Repository(
        sha=sha if sha and not sha.startswith("(") else NO_REPOSITORY_SHA,
        branch=branch if not branch.startswith("(") else "",
        dirty=any(not line.startswith("# ") for line in lines),
    )
