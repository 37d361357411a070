"""How much memory a server is thought to need: against llama.cpp's own log, and what is refused for it."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy
import psutil
import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.memory import estimate, require_memory
from gptoss_flow.server.model import Machine, find_model, require_room
from gptoss_flow.server.model_facts import QUANTS, ModelFacts, facts_of
from gptoss_flow.server.model_file import Missing, ModelFile, inspect_model
from gptoss_flow.testing.tiny_gpt_oss import ensure_tiny_model
from tests.conftest import need
from tests.server.conftest import SystemClock
from tests.server.test_manager import Watched
from tests.server.world import in_loop

MIB, GIB = 2**20, 2**30

LLAMA_8B = ModelFacts(
    name="llama-8b", architecture="llama", quant="Q4_K_M", parameters=8_030_261_312, size_bytes=4_920_000_000,
    weights_bytes=4_912_000_000, context_tokens=131_072, embedding=4096, feed_forward=14_336, heads=32,
    kv_heads=(8,) * 32, layers=32, key_length=128, value_length=128, window=0, windowed=(False,) * 32, experts=0,
    experts_used=0, tokenizer="gpt2/llama-bpe", vocabulary=128_256, has_chat_template=True,
)  # fmt: skip
GPT_OSS_20B = replace(
    LLAMA_8B, name="gpt-oss-20b", architecture="gpt-oss", weights_bytes=12_100_000_000, embedding=2880,
    feed_forward=2880 * 4, heads=64, kv_heads=(8,) * 24, layers=24, key_length=64, value_length=64, window=128,
    windowed=(True, False) * 12, experts=32, experts_used=4, vocabulary=201_088,
)  # fmt: skip


def profile(**keys: Any) -> Profile:
    return Profile.model_validate({"name": "mine", "parallel": 1, "context": 4096, **keys})


def kv_mib(facts: ModelFacts, **keys: Any) -> float:
    return estimate(profile(**keys), facts).kv_bytes / MIB


def write_model(path: Path, **changes: Any) -> Path:
    """A file whose metadata is that of a small llama with four heads, two of them with keys and values."""
    keys = {
        "llama.block_count": 4, "llama.context_length": 2048, "llama.embedding_length": 256,
        "llama.feed_forward_length": 512, "llama.attention.head_count": 4, "llama.attention.head_count_kv": 2,
    } | changes  # fmt: skip
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        match value:
            case int():
                writer.add_uint32(key, value) if value < 2**32 else writer.add_uint64(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case list():
                writer.add_array(key, value)
    writer.add_tensor("token_embd.weight", numpy.zeros((32, 256), dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def facts(path: Path) -> ModelFacts:
    found = inspect_model(path, "")
    assert isinstance(found, ModelFile), found
    return facts_of(found)


# --- the parts -------------------------------------------------------------------------------------------


def test_the_kv_cache_is_that_of_grouped_heads_by_type_and_context() -> None:
    assert kv_mib(LLAMA_8B) == 512  # as llama.cpp says for 4096 cells
    assert kv_mib(LLAMA_8B, context=8192) == 1024
    assert kv_mib(LLAMA_8B, parallel=3) == 3 * 512
    assert kv_mib(LLAMA_8B, kv_cache={"k": "q8_0", "v": "q8_0"}) == 272
    assert kv_mib(LLAMA_8B, kv_cache={"k": "f32"}) == 768
    assert kv_mib(LLAMA_8B, context=1) == 32  # 256 cells are the least


def test_windowed_layers_keep_the_window_and_a_micro_batch_unless_all_is_asked_for() -> None:
    whole, layer = 12 * 4096 * 2048 / MIB, 12 * 2048 / MIB  # twelve layers, 2048 bytes a cell
    assert kv_mib(GPT_OSS_20B) == whole + 768 * layer
    assert kv_mib(GPT_OSS_20B, ubatch=128) == whole + 256 * layer
    assert kv_mib(GPT_OSS_20B, kv_cache={"swa_full": True}) == 2 * whole
    assert kv_mib(GPT_OSS_20B, context=256) == 2 * 256 * layer


def test_a_shared_cache_holds_the_windows_of_all_slots_once() -> None:
    layer = 12 * 2048 / MIB
    shared = kv_mib(GPT_OSS_20B, parallel=4, context=2048, kv_cache={"unified": True})
    assert shared == (8192 + 1024) * layer
    assert kv_mib(GPT_OSS_20B, parallel=4, context=2048) == 4 * (2048 + 768) * layer


def test_computing_takes_more_without_flash_attention() -> None:
    with_it, without = (
        estimate(profile(flash_attention=word), LLAMA_8B).compute_bytes / MIB for word in ("on", "off")
    )
    assert 80 < with_it < 200
    assert without > 4096 * 512 * 32 * 4 / MIB > with_it


def test_a_model_of_which_little_is_known_is_not_thought_larger_than_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = estimate(profile(context=2**20), facts(path))
    assert (found.weights_bytes, found.kv_bytes, found.compute_bytes) == (0, 0, 0)


# --- the facts -------------------------------------------------------------------------------------------


def test_the_file_types_are_those_of_llama_cpp() -> None:
    named = {kind.value: kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    assert {number: named[number] for number in QUANTS if number in named} == {
        number: name for number, name in QUANTS.items() if number in named
    }
    assert QUANTS.keys() >= {2, 7, 15, 38}


def test_what_a_file_says_is_read(tmp_path: Path) -> None:
    found = facts(
        write_model(tmp_path / "a.gguf", **{"general.name": "Small", "tokenizer.chat_template": "{{x}}"})
    )
    assert (found.name, found.layers, found.heads, found.kv_heads) == ("Small", 4, 4, (2, 2, 2, 2))
    assert (found.key_length, found.context_tokens, found.has_chat_template) == (64, 2048, True)
    assert (found.parameters, found.weights_bytes, found.vocabulary) == (32 * 256, 32 * 256 * 4, None)


def test_each_layer_may_have_its_own_heads(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.gguf", **{"llama.attention.head_count_kv": [0, 2, 0, 1]})
    assert kv_mib(facts(path)) == 3 * 4096 * 64 * 2 * 2 / MIB


def test_a_pattern_says_which_layers_have_a_window(tmp_path: Path) -> None:
    keys = {"llama.attention.sliding_window": 100}
    pattern = {"llama.attention.sliding_window_pattern": [True, False, True, True]}
    assert facts(write_model(tmp_path / "a.gguf", **keys, **pattern)).windowed == (True, False, True, True)
    period = {"llama.attention.sliding_window_pattern": 2}
    assert facts(write_model(tmp_path / "b.gguf", **keys, **period)).windowed == (True, False, True, False)


@pytest.mark.parametrize(
    "changes",
    [
        {"llama.block_count": 2**32 - 1},
        {"llama.block_count": "\x1b[31m"},
        {"llama.block_count": 2.5},
        {"llama.attention.head_count": [4]},
        {"llama.attention.head_count_kv": [-1, 0, 0, 0]},
        {"llama.attention.key_length": 2**60},
        {"llama.embedding_length": ["a", "b"]},
        {"llama.attention.sliding_window": "x" * 5000},
    ],
)
def test_metadata_that_no_model_has_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(Unavailable, match=r"is damaged: its llama\.\S+ (is|has) .{1,60}; fetch") as caught:
        facts(write_model(tmp_path / "a.gguf", **changes))
    assert "\x1b" not in str(caught.value)


def test_odd_but_harmless_metadata_is_borne(tmp_path: Path) -> None:
    odd = {
        "llama.attention.head_count": 0, "llama.attention.sliding_window": 5, "general.file_type": "Q4",
        "llama.attention.sliding_window_pattern": 0, "tokenizer.ggml.model": 7, "general.name": "n" * 5000,
    }  # fmt: skip
    found = facts(write_model(tmp_path / "a.gguf", **odd))
    assert (found.quant, found.name, found.tokenizer, found.key_length) == ("", "a", "", 0)


# --- what is refused -------------------------------------------------------------------------------------


def refusal(
    keys: dict[str, Any], memory_bytes: int, facts: ModelFacts = LLAMA_8B, *, has_gpu: bool = False
) -> str:
    with pytest.raises(Unavailable) as caught:
        require_memory(profile(**keys), facts, memory_bytes, has_gpu=has_gpu)
    return str(caught.value)


def test_a_context_that_cannot_fit_is_refused_with_the_number_and_the_key() -> None:
    said = refusal({"context": 131_072, "parallel": 4}, 24 * 10**9)
    assert said.startswith(
        "llama-8b would need 69.1 GB of memory (KV cache 68.7 GB for 524,288 tokens, computing 0.3 GB)"
    )  # the weights are mapped: they need no room
    assert "this machine has 24.0 GB; lower context from 131,072 to at most " in said
    assert "or lower parallel (4), or set kv_cache: {k: q8_0, v: q8_0}" in said
    fitting = int(re.findall(r"at most ([\d,]+)", said)[0].replace(",", ""))
    assert require_memory(profile(context=fitting, parallel=4), LLAMA_8B, 24 * 10**9, has_gpu=False) is not None
    assert "lower context" in refusal({"context": fitting + 256, "parallel": 4}, 24 * 10**9)


def test_the_key_is_the_one_that_the_profile_uses() -> None:
    said = refusal({"context": None, "context_total": 524_288, "parallel": 4}, 24 * 10**9)
    assert "lower context_total from 524,288 to at most " in said


def test_weights_that_are_read_whole_must_fit_and_mapped_ones_are_warned_of() -> None:
    small = 4 * 10**9
    assert "take a smaller quantisation or model, or set mmap: true" in refusal({"mmap": False}, small)
    assert "take a smaller quantisation" in refusal({"mlock": True}, small)
    warning = require_memory(profile(), LLAMA_8B, small, has_gpu=False)
    assert warning == (
        "llama-8b takes 5.7 GB of memory, this machine has 4.0 GB: it will be slow, for parts are read from the "
        "disk again and again"
    )
    assert require_memory(profile(), LLAMA_8B, 8 * 10**9, has_gpu=False) is None


def test_where_a_gpu_may_take_it_only_what_is_kept_from_it_counts() -> None:
    large = {"context": 131_072, "parallel": 4}
    assert require_memory(profile(**large), LLAMA_8B, 10**9, has_gpu=True) is None
    assert "would need 68.7 GB" in refusal({**large, "gpu_layers": 0}, 10**9, has_gpu=True)
    assert "would need 68.7 GB" in refusal({**large, "kv_cache": {"offload": False}}, 10**9, has_gpu=True)


def machine(tmp_path: Path, memory_bytes: int, *, has_gpu: bool = False) -> Machine:
    return Machine(
        environ={}, home=tmp_path, cache_dir=tmp_path / "cache", memory_bytes=memory_bytes, has_gpu=has_gpu
    )


def test_the_first_quantisation_whose_cache_fits_too_is_taken(tmp_path: Path) -> None:
    for quant, layers in (("F16", 4), ("Q4_0", 1)):
        write_model(tmp_path / f"m-{quant}.gguf", **{"llama.block_count": layers})
    keys = {"model": {"dir": str(tmp_path), "file": "m-{quant}.gguf", "quants": ["F16", "Q4_0"]}, "context": 65536}
    found = find_model(profile(**keys), machine(tmp_path, 2**27))
    assert isinstance(found, ModelFile) and found.path.name == "m-Q4_0.gguf"
    found = find_model(profile(**keys), machine(tmp_path, 2**27, has_gpu=True))
    assert isinstance(found, ModelFile) and found.path.name == "m-F16.gguf"
    refused = find_model(profile(**keys), machine(tmp_path, 2**20))
    assert (
        isinstance(refused, Missing) and refused.cause == "too_large" and "m-Q4_0.gguf needs " in refused.message
    )
    assert "none of model.quants has room, not even the smallest" in refused.message and refused.key == "quants"
    assert refused.hint == "take a smaller quantisation or model"
    refused = find_model(profile(**keys, mmap=True), machine(tmp_path, 2**26))
    assert isinstance(refused, Missing) and "lower context from 65,536 to at most " in refused.hint


def test_a_device_elsewhere_counts_as_a_gpu(tmp_path: Path) -> None:
    found = inspect_model(write_model(tmp_path / "a.gguf"), "")
    assert isinstance(found, ModelFile)
    small, said = machine(tmp_path, 2**25), list[str]()
    with pytest.raises(Unavailable, match="would need"):
        require_room(profile(context=2**20), found, small, said.append)
    require_room(profile(context=2**20, rpc=["host:1"]), found, small, said.append)
    assert said == []


# --- against the real server -----------------------------------------------------------------------------


@pytest.fixture
def real_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    if request.param == "demo":
        path = request.getfixturevalue("demo_model")
        assert isinstance(path, Path)
        return path
    return ensure_tiny_model(tmp_path_factory.getbasetemp() / "tiny-gpt-oss")


@pytest.mark.real
@pytest.mark.parametrize("real_model", ["demo", "tiny-gpt-oss"], indirect=True)
@pytest.mark.parametrize(
    "keys",
    [
        {"context": 512, "parallel": 4},
        {"context": 4096, "parallel": 2},
        {"context": 1000, "parallel": 4, "kv_cache": {"unified": True, "k": "q8_0", "v": "q4_0"}},
    ],
)
@in_loop
async def test_the_estimate_is_what_the_real_server_takes(
    real_model: Path, keys: dict[str, Any], state_root: Path, clock: SystemClock
) -> None:
    wanted = Profile.model_validate(
        {"name": "real", "engine": "embedded", "threads": 1, "log": {"level": "debug"}, **keys}
    )
    server = Watched(wanted, real_model, state_root, clock)
    endpoint = await server.ensure_ready()
    assert endpoint.pid and endpoint.log_path
    taken = psutil.Process(endpoint.pid).memory_info().rss
    log = await asyncio.to_thread(endpoint.log_path.read_text)
    await server.stop()
    needed = estimate(wanted, facts(real_model))

    def said(what: str) -> float:
        return sum(map(float, re.findall(rf"{what} buffer size = +([\d.]+) MiB", log)))

    assert needed.kv_bytes / MIB == pytest.approx(said("KV"), abs=0.02)
    assert needed.weights_bytes / MIB == pytest.approx(said("CPU_Mapped model"), abs=0.02)
    assert needed.compute_bytes / MIB == pytest.approx(said("compute") + said("output"), rel=0.2, abs=4)
    assert needed.total_bytes == pytest.approx(taken, rel=0.15)
