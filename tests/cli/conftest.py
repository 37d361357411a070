"""What the tests of several commands share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_flow.cli.main import main
from gptoss_flow.server.record import list_servers
from gptoss_flow.server.verbs import stop_server
from tests.cli.in_process import Command
from tests.cli.stand import Stand
from tests.cli.taken_up import Runs
from tests.server.gguf_files import write_gguf
from tests.server.world import is_dead


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """What still runs at the end is stopped."""
    project = Stand(tmp_path)
    project.write("gptoss-flow.yaml", "version: 1\n")
    write_gguf(project.folder / "small.gguf", "llama")
    project.profile("small")
    yield project
    for record in list_servers(Path(project.environ["XDG_STATE_HOME"]) / "gptoss-flow"):
        asyncio.run(stop_server(record))
        assert is_dead(record.pid)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runs:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    return Runs(folder, capsys)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in an empty folder with a home of its own."""
    monkeypatch.chdir(tmp_path)
    for variable in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([*args])
        return (code, *capsys.readouterr())

    return run
