"""What a check says of machines that are not this one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from gptoss_flow.app.profile_check import Finding, Site, check_profile
from gptoss_flow.errors import ExitCode
from gptoss_flow.server.model import Machine
from tests.server.gguf_files import write_gguf


@pytest.fixture(autouse=True)
def _at_home_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))


def check(
    tmp_path: Path,
    text: str,
    *,
    memory_bytes: int = 2**40,
    has_gpu: bool = False,
    environ: dict[str, str] | None = None,
) -> dict[str, Finding]:
    """The last finding of each kind."""
    machine = Machine(
        environ=environ or {},
        home=tmp_path,
        cache_dir=tmp_path / "cache",
        memory_bytes=memory_bytes,
        has_gpu=has_gpu,
    )
    write_gguf(tmp_path / "small.gguf", "llama", context=1024)
    (tmp_path / "p.yaml").write_text(text)
    site = Site(cwd=tmp_path, machine=machine, state_root=tmp_path / "state")
    checked = asyncio.run(check_profile("./p.yaml", site))
    assert checked.exit_code == max(finding.exit_code for finding in checked.findings)
    return {finding.check: finding for finding in checked.findings}


SMALL = "{model: {path: small.gguf}, context: 512, parallel: 1}"


def test_weights_need_room_in_memory_unless_a_gpu_may_take_them(tmp_path: Path) -> None:
    refused = check(tmp_path, SMALL, memory_bytes=1000)["memory"]
    assert (refused.exit_code, "this machine has" in refused.message) == (ExitCode.UNAVAILABLE, True)
    assert check(tmp_path, SMALL, memory_bytes=1000, has_gpu=True)["memory"].is_ok
    fits = check(tmp_path, SMALL)["memory"]
    assert fits.is_ok and fits.message.endswith("this machine has 1099.5 GB")


def test_a_model_that_could_only_be_read_again_and_again_is_a_problem(tmp_path: Path) -> None:
    write_gguf(tmp_path / "wide.gguf", "llama", rows=2**16)  # 11 MB, beside 31 MB that the program takes
    text = "{model: {path: wide.gguf}, context: 512, parallel: 1}"
    slow = check(tmp_path, text, memory_bytes=36_000_000)["memory"]
    assert slow.exit_code == ExitCode.UNAVAILABLE and "it will be slow" in slow.message
    assert slow.hint == "take a smaller model or quantisation"
    assert slow.mark is not None and (slow.mark.line, slow.mark.column) == (1, 16)


def test_devices_are_those_that_the_binary_has(tmp_path: Path) -> None:
    help_text = (Path(__file__).parents[1] / "data" / "llama_help" / "2026-10.txt").as_posix()
    binary = tmp_path / "llama-server"
    listed = "Available devices:\\n  CUDA0: Some Card (8000 MiB, 7000 MiB free)\\n"
    binary.write_text(
        f"#!/bin/sh\ncase $1 in\n--help) cat {help_text};;\n--list-devices) printf '{listed}';;\nesac\n"
    )
    binary.chmod(0o755)
    text = "{model: {path: small.gguf}, context: 512, binary: ./llama-server, devices: [CUDA0, %s]}"
    lacks = check(tmp_path, text % "Vulkan1")["devices"]
    assert (lacks.message, lacks.hint) == ("llama-server has no device Vulkan1", "there is CUDA0")
    assert (
        lacks.exit_code == ExitCode.UNAVAILABLE
        and lacks.mark is not None
        and lacks.mark.column == text.index("%s") + 1
    )
    assert check(tmp_path, text % "none")["devices"].is_ok


def test_without_an_engine_the_rest_is_looked_at(tmp_path: Path) -> None:
    found = check(tmp_path, SMALL, environ={"LLAMA_SERVER": "/no/such/program"})
    assert found["engine"].exit_code == ExitCode.UNAVAILABLE and "options" not in found
    assert found["model"].is_ok and found["port"].is_ok


def test_a_profile_that_is_wrong_is_looked_at_no_further(tmp_path: Path) -> None:
    found = check(tmp_path, "{parallel: 0}")
    assert list(found) == ["profile"] and found["profile"].exit_code == ExitCode.INVALID
    assert found["profile"].mark is not None


def test_a_model_of_the_hub_needs_its_library_before_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check(tmp_path, "{model: {hf: 'some/model:Q4_0'}}")["model"].is_ok
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # type: ignore[arg-type]
    lacks = check(tmp_path, "{model: {hf: 'some/model:Q4_0'}}")["model"]
    assert (lacks.exit_code, lacks.hint) == (ExitCode.UNAVAILABLE, "pip install 'gptoss-flow[hf]'")
    assert lacks.mark is not None and lacks.mark.column == 14
