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
