"""llama.cpp's own figures of memory: how they are asked for, kept, and what is chosen and refused by them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.fit import Share, shares
from gptoss_flow.server.model import Machine, find_model, require_room
from gptoss_flow.server.model_file import Missing, ModelFile, inspect_model
from gptoss_flow.server.problems import KeyProblem
from tests.server.test_memory import write_model

MIB = 2**20
HELP = """----- common params -----

-c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
-np,   --parallel N                     number of parallel sequences to decode (default: 1)
-ctk,  --cache-type-k TYPE              KV cache data type for K
-m,    --model FNAME                    model path to load
-fitp, --fit-print [on|off]             print the estimated required memory ('on' or 'off', default: 'off')
"""

Programs = Callable[..., Path]


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """A folder of a llama-server and a llama-fit-params that says these lines; `asked` is what it is asked."""

    def make(*lines: str, devices: str = "Available devices:\n  (none)\n", exit_code: int = 0) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        said, asked = {"--help": HELP, "--list-devices": devices}, str(tmp_path / "asked")
        for name in ("llama-server", "llama-fit-params"):
            path = folder / name
            path.write_text(
                f"#!{sys.executable}\nimport sys\n"
                f"said = {said!r}\n"
                f"if sys.argv[1] in said: print(said[sys.argv[1]], end=''); sys.exit()\n"
                f"with open({asked!r}, 'a') as file: file.write(' '.join(sys.argv[1:]) + '\\n')\n"
                f"print('0.00.004.651 I printing estimated memory in MiB', file=sys.stderr)\n"
                f"print({chr(10).join(lines)!r})\nsys.exit({exit_code})\n"
            )
            path.chmod(0o755)
        return folder

    return make


def environ(folder: Path) -> dict[str, str]:
    return {"PATH": str(folder)}


def profile(**keys: Any) -> Profile:
    return Profile.model_validate({"name": "mine", "parallel": 2, "context": 4096, **keys})


def test_it_is_asked_what_the_server_would_be_told_and_kept(tmp_path: Path, programs: Programs) -> None:
    folder, model = programs("Host 92 180 104 "), write_model(tmp_path / "m.gguf")
    expected = (Share("Host", 92 * MIB, 180 * MIB, 104 * MIB),)
    for _ in range(2):
        assert shares(profile(), model, environ(folder), tmp_path / "cache") == expected
    assert (tmp_path / "asked").read_text() == (
        f"--model {model} --fit-print on --ctx-size 8192 --parallel 2 --cache-type-k f16\n"
    )
    shares(profile(context=512), model, environ(folder), tmp_path / "cache")
    assert len((tmp_path / "asked").read_text().splitlines()) == 2


def test_a_device_comes_with_its_size(tmp_path: Path, programs: Programs) -> None:
    devices = "Available devices:\n  CUDA0: NVIDIA GeForce RTX 4090 (24077 MiB, 23000 MiB free)\n"
    folder = programs("CUDA0 17904 384 898 ", "Host 58259 0 12 ", devices=devices)
    found = shares(profile(), write_model(tmp_path / "m.gguf"), environ(folder), tmp_path / "cache")
    assert [(share.device, share.total_bytes // MIB, share.has_bytes) for share in found] == [
        ("CUDA0", 17904 + 384 + 898, 24077 * MIB),
        ("Host", 58259 + 12, None),
    ]


@pytest.mark.parametrize("lines", [(), ("printing estimated memory",), ("Host ninety 1 2",)])
def test_what_is_no_figure_is_none(tmp_path: Path, programs: Programs, lines: tuple[str, ...]) -> None:
    folder = programs(*lines)
    assert shares(profile(), write_model(tmp_path / "m.gguf"), environ(folder), tmp_path / "cache") == ()


def test_a_program_that_fails_or_is_not_there_says_nothing(tmp_path: Path, programs: Programs) -> None:
    model, cache = write_model(tmp_path / "m.gguf"), tmp_path / "cache"
    folder = programs("Host 92 180 104 ", exit_code=134)
    assert shares(profile(), model, environ(folder), cache) == ()
    (folder / "llama-fit-params").unlink()
    assert shares(profile(), model, environ(folder), cache) == ()
    assert shares(profile(engine="embedded"), model, environ(folder), cache) == ()
    assert shares(profile(binary="no-such-program"), model, environ(folder), cache) == ()
    assert not cache.exists()


@pytest.fixture
def machine(tmp_path: Path, programs: Programs) -> Callable[..., Machine]:
    def make(*lines: str, memory_mib: int, has_gpu: bool = False, devices: str = "") -> Machine:
        folder = programs(*lines, devices=devices)
        return Machine(
            environ=environ(folder),
            home=tmp_path,
            cache_dir=tmp_path / "cache",
            memory_bytes=memory_mib * MIB,
            has_gpu=has_gpu,
        )

    return make


def found(path: Path) -> ModelFile:
    model = inspect_model(path, "")
    assert isinstance(model, ModelFile)
    return model


def test_the_refusal_has_its_numbers_and_the_key(tmp_path: Path, machine: Callable[..., Machine]) -> None:
    # Our own estimate is 61 MiB: too near to the 100 MiB that there are not to ask.
    small = machine("Host 1 6000 300 ", memory_mib=100)
    with pytest.raises(Unavailable) as caught:
        require_room(profile(), found(write_model(tmp_path / "m.gguf")), small, lambda line: None)
    (problem,) = caught.value.problems
    assert isinstance(problem, KeyProblem) and problem.path == ("model",)
    assert "m would need 6.6 GB of memory (KV cache 6.3 GB for 8,192 tokens, computing 0.3 GB" in problem.message
    assert problem.message.endswith("this machine has 0.1 GB")


def test_the_context_that_fits_is_reckoned_from_its_figures(
    tmp_path: Path, machine: Callable[..., Machine]
) -> None:
    small = machine("Host 1 1600 4 ", memory_mib=900)
    wanted = profile(context=400_000)  # ours: 1563 MiB
    with pytest.raises(Unavailable, match="lower context from 400,000 to at most 2") as caught:
        require_room(wanted, found(write_model(tmp_path / "m.gguf")), small, lambda line: None)
    (problem,) = caught.value.problems
    assert isinstance(problem, KeyProblem) and problem.path == ("context",)


def test_a_device_that_is_too_small_is_named(tmp_path: Path, machine: Callable[..., Machine]) -> None:
    devices = "Available devices:\n  CUDA0: Some Card (8000 MiB, 7000 MiB free)\n"
    card = machine("CUDA0 9000 100 50 ", "Host 5 0 1 ", memory_mib=900, has_gpu=True, devices=devices)
    model = found(write_model(tmp_path / "m.gguf"))
    said = r"need 9\.6 GB on CUDA0 \(weights 9\.4 GB.*which has 8\.4 GB; lower gpu_layers \(all\)"
    with pytest.raises(Unavailable, match=said):
        require_room(profile(gpu_layers="all"), model, card, lambda line: None)
    require_room(profile(gpu_layers="auto"), model, card, lambda line: None)


def test_the_first_quantisation_that_fits_is_taken(
    tmp_path: Path, machine: Callable[..., Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    for quant in ("Q8_0", "Q4_0"):
        write_model(tmp_path / f"m-{quant}.gguf")
    small = machine("Host 1 1 1 ", memory_mib=100)
    fit = tmp_path / "bin" / "llama-fit-params"
    by_name = "print('Host 90 200 9 ' if 'Q8_0' in ' '.join(sys.argv) else 'Host 40 20 9 ')"
    fit.write_text(fit.read_text().replace("print('Host 1 1 1 ')", by_name))
    wanted = profile(model={"dir": str(tmp_path), "file": "m-{quant}.gguf", "quants": ["Q8_0", "Q4_0"]})
    chosen = find_model(wanted, small)
    assert isinstance(chosen, ModelFile) and chosen.name == "m-Q4_0"
    tiny = replace(small, memory_bytes=20 * MIB)
    none = find_model(wanted, tiny)
    assert isinstance(none, Missing) and none.cause == "too_large"
    assert "m-Q4_0.gguf needs 72 MB (weights 42 MB, KV cache 21 MB" in none.message
    assert "this machine has 21 MB" in none.message and "take a smaller" in none.hint


def test_a_kept_answer_that_is_damaged_is_asked_for_again(tmp_path: Path, programs: Programs) -> None:
    folder, model, cache = programs("Host 92 180 104 "), write_model(tmp_path / "m.gguf"), tmp_path / "cache"
    first = shares(profile(), model, environ(folder), cache)
    (kept,) = (cache / "fit").iterdir()
    for damaged in ("", "[", json.dumps([{"device": "Host"}]), "7"):
        kept.write_text(damaged)
        assert shares(profile(), model, environ(folder), cache) == first
