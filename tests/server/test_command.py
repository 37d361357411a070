import json
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.command import Command, choose_threads, compile_command, passed_environment
from gptoss_flow.server.engines import Engine
from tests.server.test_flags import known

MODEL = Path("/models/m.gguf")
EMBEDDED = Engine("embedded", ("python", "embedded.py"), "xllamacpp 1", "1")


def binary(year: int) -> Engine:
    return Engine("llama-server", ("/bin/llama-server",), str(year), str(year), known(year))


def compiled(engine: Engine, environ: dict[str, str] | None = None, **keys: Any) -> Command:
    profile = Profile.model_validate(keys)
    return compile_command(profile, MODEL, engine, port=4711, key="s3cret", threads=3, environ=environ or {})


def test_a_profile_in_the_dialect_of_2026() -> None:
    argv = compiled(
        binary(2026), context_total=384, batch=256, ubatch=256, gpu_layers="all", mmap=False, flash_attention="on"
    ).argv
    assert " ".join(argv) == (
        "/bin/llama-server --model /models/m.gguf --host 127.0.0.1 --port 4711 --ctx-size 384 --parallel 4 "
        "--batch-size 256 --ubatch-size 256 --no-kv-unified --cache-type-k f16 --cache-type-v f16 "
        "--cache-reuse 0 --flash-attn on --n-gpu-layers all --load-mode none --verbosity 3 --threads 3 "
        "--no-ui --cors-origins localhost --no-context-shift --jinja --offline --poll 0 --fit off"
    )


def test_the_same_profile_in_the_dialect_of_2024() -> None:
    argv = compiled(
        binary(2024), context_total=384, batch=256, ubatch=256, gpu_layers="all", mmap=False, flash_attention="on"
    ).argv
    assert " ".join(argv) == (
        "/bin/llama-server --model /models/m.gguf --host 127.0.0.1 --port 4711 --ctx-size 384 --parallel 4 "
        "--batch-size 256 --ubatch-size 256 --cache-type-k f16 --cache-type-v f16 --cache-reuse 0 "
        "--flash-attn --n-gpu-layers 999 --no-mmap --threads 3 --no-webui --no-context-shift --poll 0"
    )


def test_the_context_of_a_request_is_multiplied_by_the_slots() -> None:
    argv = compiled(binary(2026), context=1000, parallel=3).argv
    assert argv[argv.index("--ctx-size") + 1] == "3000"


def test_every_key_that_cannot_be_expressed_is_named() -> None:
    with pytest.raises(Invalid) as caught:
        compiled(binary(2024), kv_cache={"unified": True, "swa_full": True}, cpu_moe=True)
    assert [str(problem).split(":")[0].rpartition(" ")[2] for problem in caught.value.problems] == [
        "kv_cache.unified", "kv_cache.swa_full", "cpu_moe"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frobnicate"], "does not know --frobnicate"),
        (["--tools", "all"], "--tools opens the server"),
        (["-c", "5"], "-c is the profile's key context"),
    ],
)
def test_extra_arguments_are_checked_against_the_help(arguments: list[str], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        compiled(binary(2026), extra_args=arguments)


def test_extra_arguments_that_are_allowed_stand_last() -> None:
    assert compiled(binary(2026), extra_args=["--threads-http", "-1"]).argv[-2:] == ["--threads-http", "-1"]
    unsafe = compiled(binary(2026), extra_args=["--tools", "all"], allow_unsafe_args=True)
    assert unsafe.argv[-2:] == ["--tools", "all"]


@pytest.mark.parametrize("engine", [binary(2026), EMBEDDED])
def test_the_key_is_in_no_argument_and_in_no_repr(engine: Engine) -> None:
    command = compiled(engine)
    assert "s3cret" not in " ".join(command.argv) + repr(command)
    assert ("s3cret" in command.stdin) == (engine is EMBEDDED)
    assert (command.env.get("LLAMA_API_KEY") == "s3cret") == (engine is not EMBEDDED)


def test_the_embedded_engine_gets_the_same_as_attributes() -> None:
    job = json.loads(compiled(EMBEDDED, context=1000, parallel=2, mmap=False, kv_cache={"k": "q8_0"}).stdin)["set"]
    expected = {
        "model.path": "/models/m.gguf", "n_ctx": 2000, "n_parallel": 2, "port": 4711, "api_keys": ["s3cret"],
        "hostnames": ["127.0.0.1"], "ui": False, "cors_origins": "localhost", "fit_params": False,
        "load_mode": "NONE", "cache_type_k": "Q8_0", "cpuparams.n_threads": 3, "cpuparams_batch.n_threads": 3,
    }  # fmt: skip
    assert expected.items() <= job.items()


def test_what_the_embedded_engine_cannot_do_names_the_other_engine() -> None:
    with pytest.raises(Invalid, match="cannot do rpc; remove it or set engine: llama-server"):
        compiled(EMBEDDED, rpc=["a:1"])


def test_the_environment_is_an_allow_list_without_secrets_and_disguised_options() -> None:
    given = {
        "PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "CUDA_VISIBLE_DEVICES": "0", "OMP_WAIT_POLICY": "PASSIVE",
        "AWS_SECRET_ACCESS_KEY": "x", "LLAMA_API_KEY": "x", "LLAMA_ARG_TOOLS": "all", "HF_TOKEN": "x",
        "LD_PRELOAD": "x", "PYTHONPATH": "x",
    }  # fmt: skip
    assert set(passed_environment(given)) == {"PATH", "HOME", "LC_ALL", "CUDA_VISIBLE_DEVICES", "OMP_WAIT_POLICY"}
    env = compiled(binary(2026), given, env={"LD_PRELOAD": "mine"}).env
    assert env["LD_PRELOAD"] == "mine" and env["GGML_NO_BACKTRACE"] == "1"


@pytest.mark.parametrize(
    ("keys", "platform", "load", "alone", "threads"),
    [
        ({}, "linux", 0.1, True, 4),
        ({}, "linux", 0.1, False, 7),
        ({}, "linux", 5.0, True, 7),
        ({}, "darwin", 0.1, True, None),
        ({"threads": 2}, "darwin", 5.0, False, 2),
    ],
)
def test_threads_are_chosen_by_who_else_wants_the_cores(
    keys: dict[str, Any], platform: str, load: float, alone: bool, threads: int | None
) -> None:
    profile = Profile.model_validate(keys)
    assert choose_threads(profile, platform=platform, cores=8, physical=4, load=load, alone=alone) == threads


def test_a_machine_with_one_core_still_gets_a_thread() -> None:
    assert choose_threads(Profile(), platform="linux", cores=1, physical=1, load=9.0, alone=False) == 1
