"""A place for servers to live in, and a stand-in for the binary."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import verbs
from gptoss_flow.server.record import list_servers


class SystemClock:
    """The real time, except that a wait of a second or more is only noted."""

    def __init__(self) -> None:
        self.long_sleeps: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        if seconds >= 1:
            self.long_sleeps.append(seconds)
            seconds = 0.0
        await asyncio.sleep(seconds)


@pytest.fixture
def clock() -> SystemClock:
    return SystemClock()


@pytest.fixture
def state_root(tmp_path: Path) -> Iterator[Path]:
    """A folder for state; whatever server still runs there at the end is stopped and fails the test."""
    root = tmp_path / "state"
    yield root

    async def clear() -> list[str]:
        left = list_servers(root)
        for record in left:
            await verbs.stop_server(record)
        return [record.name for record in left]

    assert asyncio.run(clear()) == []


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """What the stand-in takes for a model."""
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF" + bytes(60))
    return path


@pytest.fixture
def binary(tmp_path: Path) -> Callable[..., Path]:
    """Makes a stand-in for llama-server that behaves as `testing.replies.Script` says."""

    def make(name: str = "llama-server", **script: Any) -> Path:
        path = tmp_path / name
        text = (
            f"#!{sys.executable}\nimport sys\n"
            "from gptoss_flow.testing.fake_llama_server import main\n"
            "from gptoss_flow.testing.replies import read_script\n"
            f"sys.exit(main(script=read_script({json.dumps(json.dumps(script))})))\n"
        )
        if not path.exists() or path.read_text() != text:  # a new file would be a new build
            path.write_text(text)
            path.chmod(0o755)
        return path

    return make


@pytest.fixture
def profile(binary: Callable[..., Path]) -> Callable[..., Profile]:
    """Makes a profile of the stand-in; keys of `script` are for the stand-in."""

    def make(script: dict[str, Any] | None = None, **keys: Any) -> Profile:
        defaults = {"name": "small", "engine": "llama-server", "parallel": 2, "context": 512, "threads": 1}
        if "binary" not in keys:
            keys["binary"] = str(binary(**(script or {})))
        return Profile.model_validate(defaults | keys)

    return make
