"""Where the keys are said to be that a server has a problem with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptoss_flow.app.options import require_options
from gptoss_flow.errors import Invalid, Mark, Problem, Unavailable
from gptoss_flow.lang.profile_places import SearchPath
from gptoss_flow.lang.profiles import ResolvedProfile, resolve_profile
from gptoss_flow.server.model import Machine
from gptoss_flow.server.problems import KeyProblem, key_problem, located, places_of

HELP = Path(__file__).parents[1] / "data" / "llama_help"


@pytest.fixture
def resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ResolvedProfile:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "team.yaml").write_text("model: {path: m.gguf}\nkv_cache:\n  unified: true\n")
    (tmp_path / "mine.yaml").write_text(
        "extends: ./team.yaml\nengine: llama-server\nbinary: ./llama-server\nextra_args:\n  - --tools\n  - all\n"
    )
    return resolve_profile("./mine.yaml", places=SearchPath(()), base_dir=tmp_path)


def stand_in(folder: Path, month: str) -> None:
    """A binary that only says the help of a build of that month."""
    program = folder / "llama-server"
    program.write_text(
        f"#!/bin/sh\nif [ $1 = --help ]; then cat {HELP / month}.txt; else echo 'version: 6200 (abc)'; fi\n"
    )
    program.chmod(0o755)


def machine(folder: Path) -> Machine:
    return Machine(environ={"PATH": "/usr/bin:/bin"}, home=folder, cache_dir=folder, memory_bytes=2**40)


def test_each_key_is_told_at_its_own_place_in_its_own_file(tmp_path: Path, resolved: ResolvedProfile) -> None:
    stand_in(tmp_path, "2025-08")
    with pytest.raises(Invalid) as caught:
        require_options(resolved, Path("m.gguf"), machine(tmp_path), tmp_path / "state")
    assert [str(problem) for problem in caught.value.problems] == [
        "team.yaml:3:12: llama-server 6200 (abc) has no option for kv_cache.unified: true; remove the key, take "
        "another build of llama-server (binary, $LLAMA_SERVER), or set engine: embedded",
        "mine.yaml:5:5: extra_args: llama-server 6200 (abc) does not know --tools; see llama-server --help",
    ]


def test_an_engine_that_knows_them_all_is_given_back(tmp_path: Path, resolved: ResolvedProfile) -> None:
    stand_in(tmp_path, "2026-10")
    allowed = ResolvedProfile(name="mine", profile=resolved.profile.model_copy(update={"allow_unsafe_args": True}))
    engine = require_options(allowed, Path("m.gguf"), machine(tmp_path), tmp_path / "state")
    assert engine.build == "6200 (abc)"


def test_a_default_has_no_place_and_a_place_stays(resolved: ResolvedProfile) -> None:
    assert located(key_problem("parallel", "is wrong", "mend it"), resolved) == Problem(
        None, "is wrong", "mend it"
    )
    known = KeyProblem(Mark("x", 1, 2), "is wrong", "", ("binary",))
    assert located(known, resolved).mark == Mark("x", 1, 2)
    assert located(Problem(None, "is wrong"), resolved, ("engine",)).mark == Mark("mine.yaml", 2, 9)


def test_an_error_keeps_its_class_and_one_without_keys_itself(resolved: ResolvedProfile) -> None:
    with pytest.raises(Unavailable) as caught, places_of(resolved):
        raise Unavailable(key_problem("binary", "is no program", ""))
    assert str(caught.value) == "mine.yaml:3:9: is no program"
    plain = Unavailable("nothing is there")
    with pytest.raises(Unavailable) as caught, places_of(resolved):
        raise plain
    assert caught.value is plain
