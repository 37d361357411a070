"""A project folder for tests of flows: files, and the command line run in it as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Project:
    """A folder with a home of its own, so that nothing of the user's is read or written.

    >>> project = Project(tmp_path)
    >>> project.write("flows/a.yaml", "version: 1 …")
    >>> assert project.run("run", "flows/a.yaml", "--model", "scripted:replies.yaml").code == 0
    """

    def __init__(self, folder: Path, environ: Mapping[str, str] | None = None) -> None:
        self.folder = folder / "project"
        self.home = folder / "home"
        self.folder.mkdir(parents=True)
        self.home.mkdir()
        private = {
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "XDG_STATE_HOME": str(self.home / ".state"),
            "XDG_CONFIG_HOME": str(self.home / ".config"),
            "NO_COLOR": "1",
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GPT_OSS_")}
        self.environ = {**inherited, **private, **(environ or {})}

    def write(self, path: str, text: str | bytes) -> Path:
        """Write a file of the project; its folders are made."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)
        return target

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "gptoss_flow", *args]

    def run(self, *args: str, stdin: str | bytes = b"", timeout_s: float = 120) -> Done:
        """Run `gptoss-flow` with these arguments in the project's folder, to its end."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environ,
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            timeout=timeout_s,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start `gptoss-flow` and go on; the caller waits for it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.command(*args),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
        )

    @property
    def runs(self) -> list[Path]:
        """The folders of the runs on record, oldest first."""
        return sorted((self.folder / ".gptoss-flow/runs").glob("*"))

    def events(self) -> list[dict[str, Any]]:
        """The newest run's events, as they stand in `events.jsonl`."""
        lines = (self.runs[-1] / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]
