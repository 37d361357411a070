"""What the tools' tests share: a way to write a tree, and a way to call a tool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.ports import ToolContext
from gptoss_flow.tools import TOOLS

Call = Callable[..., Any]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What tools keep for later lies in a folder of the test's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "gptoss-flow"


@pytest.fixture
def call(workspace: Path) -> Call:
    def call(tool: str, *, readable: tuple[Path, ...] = (), **arguments: Any) -> Any:
        return asyncio.run(TOOLS[tool].call(arguments, ToolContext(workspace=workspace, readable=readable)))

    return call


def plant(root: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, by path relative to `root`."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder with its content, and every folder that holds none."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = b"-> " + str(path.readlink()).encode()
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not path.is_dir():
            found[name] = b"no file"
        elif not any(path.iterdir()):
            found[name + "/"] = b""
    return found
