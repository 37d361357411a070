"""Models of the Hugging Face Hub, from a stand-in of its two endpoints, through the real huggingface_hub."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import hub
from gptoss_flow.server.model import Machine, ensure_model, find_model
from gptoss_flow.server.model_file import Missing, ModelFile
from tests.conftest import need

from .gguf_files import write_gguf
from .web import Web, serving

REPO = "some/tiny-GGUF"


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    need("huggingface_hub", found=importlib.util.find_spec("huggingface_hub") is not None)
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    with serving() as web:
        small, large = (write_gguf(tmp_path / f"{rows}.gguf", rows=rows).read_bytes() for rows in (32, 512))
        web.add_repository(
            REPO,
            {
                "README.md": b"# tiny",
                "tiny-Q4_0.gguf": small,
                "tiny-Q8_0.gguf": large,
                "mmproj-F16.gguf": small,
                "F16/tiny-F16-00001-of-00002.gguf": small,
                "F16/tiny-F16-00002-of-00002.gguf": large,
            },
        )
        yield web


@pytest.fixture
def machine(tmp_path: Path, web: Web) -> Machine:
    environ = {"HF_ENDPOINT": web.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "hf_secret"}
    return Machine(environ=environ, home=tmp_path / "home", cache_dir=tmp_path / "cache", memory_bytes=2**30)


def profile(quant: str, repo: str = REPO) -> Profile:
    return Profile.model_validate({"name": "mine", "model": {"hf": f"{repo}:{quant}"}})


def failure(wanted: Profile, machine: Machine) -> str:
    with pytest.raises(Unavailable) as caught:
        ensure_model(wanted, machine, lambda line: None)
    return str(caught.value)


def test_the_file_of_a_quantisation_is_fetched_once_and_then_found_without_the_network(
    web: Web, machine: Machine, tmp_path: Path
) -> None:
    missing = find_model(profile("q4_0"), machine)
    assert isinstance(missing, Missing) and missing.cause == "not_fetched"
    said: list[str] = []
    model = ensure_model(profile("q4_0"), machine, said.append)
    assert model.path.read_bytes() == web.files[f"/{REPO}/resolve/main/tiny-Q4_0.gguf"]
    assert model.path.is_relative_to(tmp_path / "hf" / "hub")
    assert said[0] == f"asking {web.url} for {REPO}"
    assert said[1].startswith(f"downloading {REPO}/tiny-Q4_0.gguf, ")
    asked = len(web.asked)
    assert ensure_model(profile("Q4_0"), machine, said.append, offline=True).path == model.path
    assert len(web.asked) == asked
    assert {headers.get("Authorization", headers.get("authorization")) for *_, headers in web.asked} == {
        "Bearer hf_secret"
    }


def test_a_model_in_parts_is_fetched_whole(machine: Machine) -> None:
    model = ensure_model(profile("F16"), machine, lambda line: None)
    assert model.name == "tiny-F16" and len(model.headers) == 2
    found = find_model(profile("f16"), machine)
    assert isinstance(found, ModelFile) and found.path == model.path
    model.path.with_name("tiny-F16-00002-of-00002.gguf").unlink()
    assert isinstance(find_model(profile("F16"), machine), Missing)


def test_another_quantisation_in_the_cache_is_not_taken(machine: Machine) -> None:
    ensure_model(profile("Q4_0"), machine, lambda line: None)
    assert isinstance(find_model(profile("Q8_0"), machine), Missing)


def test_offline_asks_nobody(web: Web, machine: Machine) -> None:
    with pytest.raises(Unavailable, match="of the Hub is not on this machine yet; run once without --offline"):
        ensure_model(profile("Q4_0"), machine, print, offline=True)
    assert web.asked == []


def test_a_quantisation_that_is_not_there_is_said_with_those_that_are(machine: Machine) -> None:
    assert failure(profile("Q2_K"), machine) == f"{REPO} has no file that is Q2_K; there are F16, Q4_0, Q8_0"


def test_a_repository_that_is_not_there_is_said(web: Web, machine: Machine) -> None:
    said = failure(profile("Q4_0", "no/such"), machine)
    assert said.startswith(f"{web.url} has no repository no/such, or it is private; check its name")
    assert "hf_secret" not in said


def test_a_repository_without_models_is_said(web: Web, machine: Machine) -> None:
    web.add_repository("some/text", {"README.md": b""})
    assert "some/text has no GGUF file" in failure(profile("Q4_0", "some/text"), machine)


def test_a_part_that_the_repository_lacks_is_said(web: Web, machine: Machine) -> None:
    web.add_repository("some/half", {"a-Q8_0-00001-of-00002.gguf": b"x"})
    assert "not a-Q8_0-00002-of-00002.gguf, which belongs to it" in failure(profile("Q8_0", "some/half"), machine)


def test_several_files_of_one_quantisation_are_asked_about(web: Web, machine: Machine, tmp_path: Path) -> None:
    content = write_gguf(tmp_path / "x.gguf").read_bytes()
    web.add_repository("some/two", {"a-Q4_0.gguf": content, "b-Q4_0.gguf": content})
    said = failure(profile("Q4_0", "some/two"), machine)
    assert "has 2 files that are Q4_0: a-Q4_0, b-Q4_0; write the one you mean" in said
    assert ensure_model(profile("b-Q4_0", "some/two"), machine, lambda line: None).name == "b-Q4_0"


def test_without_a_network_it_is_said_what_to_do(machine: Machine) -> None:
    alone = Machine(
        environ={**machine.environ, "HF_ENDPOINT": "http://127.0.0.1:9"},
        home=machine.home, cache_dir=machine.cache_dir, memory_bytes=machine.memory_bytes,
    )  # fmt: skip
    said = failure(profile("Q4_0"), alone)
    assert f"the model {REPO}:Q4_0 could not be fetched from http://127.0.0.1:9" in said
    assert "check the network, HF_ENDPOINT and the proxy, or name a GGUF file with model.path" in said


def test_a_refusal_of_the_hub_is_said(web: Web, machine: Machine) -> None:
    web.statuses[f"/api/models/{REPO}/revision/main"] = 400
    assert f"{web.url} answered 400 for {REPO}" in failure(profile("Q4_0"), machine)


def test_without_the_extra_the_command_to_get_it_is_said(
    web: Web, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    assert failure(profile("Q4_0"), machine).endswith("is not installed; pip install 'gptoss-flow[hf]'")
    assert web.asked == []


def test_an_extra_that_is_there_but_broken_is_said_to_be(
    web: Web, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)  # type: ignore[arg-type]
    said = failure(profile("Q4_0"), machine)
    assert "is fetched with huggingface_hub, which cannot be imported: import of huggingface_hub.errors" in said
    assert said.endswith("pip install --force-reinstall 'gptoss-flow[hf]'")


def test_what_is_in_the_cache_needs_no_extra(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_model(profile("Q4_0"), machine, lambda line: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    assert isinstance(find_model(profile("Q4_0"), machine), ModelFile)


def test_a_disk_without_room_is_said_before_the_download(
    web: Web, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gptoss_flow.server.download.SPARE_BYTES", 2**62)
    assert "make room there, or set HF_HOME" in failure(profile("Q4_0"), machine)
    assert not any("resolve" in path for _, path, _ in web.asked)


def test_progress_is_reported_and_what_report_raises_ends_the_download(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "REPORT_EVERY_S", 0.0)

    def report(line: str) -> None:
        if line.startswith("downloading: "):
            raise Unavailable("called off")

    with pytest.raises(Unavailable, match="called off"):
        ensure_model(profile("Q4_0"), machine, report)
    assert isinstance(find_model(profile("Q4_0"), machine), Missing)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "home/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"HF_HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/h/hub"),
        ({"HF_HUB_CACHE": "/c", "HF_HOME": "/h"}, "/c"),
    ],
)
def test_the_cache_is_the_hubs_own(environ: dict[str, str], expected: str) -> None:
    assert hub.cache_dir(environ, Path("home")) == Path(expected)


@pytest.mark.parametrize(
    ("quant", "expected"),
    [
        ("q4_k_m", ["m-Q4_K_M.gguf"]),
        ("UD-Q4_K_M", ["m-UD-Q4_K_M.gguf"]),
        ("mxfp4", ["gpt-oss-20b-mxfp4.gguf"]),
        ("Q8_0", ["Q8_0/m-Q8_0-00001-of-00003.gguf"]),
        ("imat", ["m-Q5_0-imat.gguf"]),
        ("m-Q5_0-imat", ["m-Q5_0-imat.gguf"]),
        ("Q4", []),
        ("F16", []),
    ],
)
def test_a_quantisation_names_just_its_files(quant: str, expected: list[str]) -> None:
    names = [
        "m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf", "m-Q4_K_S.gguf", "gpt-oss-20b-mxfp4.gguf", "mmproj-F16.gguf",
        "Q8_0/m-Q8_0-00001-of-00003.gguf", "Q8_0/m-Q8_0-00002-of-00003.gguf", "m-Q5_0-imat.gguf", "F16.txt",
        "evil\x1b-F16.gguf",
    ]  # fmt: skip
    assert hub.files_of(quant, names) == expected


@pytest.mark.parametrize(
    "value", ["gpt-oss", "a/b", "a/b:", "../b:Q4", "a/b/c:Q4", "a/b:Q4/x", "a/..:Q4", "a/b:Q4 "]
)
def test_what_is_no_model_of_the_hub_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="write owner/repo:quant"):
        Profile.model_validate({"model": {"hf": value}})
