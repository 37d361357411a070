import json
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.command import Command, choose_threads, compile_command
from gptoss_flow.server.engines import Engine
from gptoss_flow.server.environment import passed_environment
from gptoss_flow.server.problems import KeyProblem
from tests.server.test_flags import DIALECTS, known

MODEL = Path("/models/m.gguf")
EMBEDDED = Engine("embedded", ("python", "embedded.py"), "xllamacpp 1", "1")


def binary(month: str) -> Engine:
    return Engine("llama-server", ("/bin/llama-server",), month, month, known(month))


def compiled(engine: Engine, environ: dict[str, str] | None = None, **keys: Any) -> Command:
    profile = Profile.model_validate(keys)
    return compile_command(profile, MODEL, engine, port=4711, key="s3cret", threads=3, environ=environ or {})


FAST = {
    "context_total": 384,
    "batch": 256,
    "ubatch": 256,
    "gpu_layers": "all",
    "mmap": False,
    "flash_attention": "on",
}
HEAD = (
    "/bin/llama-server --model /models/m.gguf --host 127.0.0.1 --port 4711 --ctx-size 384 --parallel 4 "
    "--batch-size 256 --ubatch-size 256"
)
GOLDEN = {
    "2026-10": (
        "--no-kv-unified --cache-type-k f16 --cache-type-v f16 --cache-reuse 0 --flash-attn on --n-gpu-layers all "
        "--load-mode none --verbosity 3 --threads 3 --no-ui --cors-origins localhost --no-context-shift --jinja "
        "--offline --poll 0 --fit off"
    ),
    "2026-07": (
        "--no-kv-unified --cache-type-k f16 --cache-type-v f16 --cache-reuse 0 --flash-attn on --n-gpu-layers all "
        "--no-mmap --verbosity 3 --threads 3 --no-ui --no-context-shift --jinja --offline --poll 0 --fit off"
    ),
    "2025-08": (
        "--cache-type-k f16 --cache-type-v f16 --cache-reuse 0 --flash-attn --n-gpu-layers 999 --no-mmap "
        "--threads 3 --no-webui --no-context-shift --jinja --poll 0"
    ),
    "2024-08": "--cache-type-k f16 --cache-type-v f16 --flash-attn --no-mmap --threads 3",
}


@pytest.mark.parametrize("month", GOLDEN)
def test_one_profile_in_every_dialect(month: str) -> None:
    assert " ".join(compiled(binary(month), **FAST).argv) == f"{HEAD} {GOLDEN[month]}"


@pytest.mark.parametrize("month", DIALECTS)
def test_a_profile_of_defaults_can_be_said_to_every_binary(month: str) -> None:
    engine = binary(month)
    said = compiled(engine).argv[1:]
    assert engine.help is not None
    for word in said:
        assert not word.startswith("--") or word in engine.help


def test_the_context_of_a_request_is_multiplied_by_the_slots() -> None:
    argv = compiled(binary("2026-10"), context=1000, parallel=3).argv
    assert argv[argv.index("--ctx-size") + 1] == "3000"


def problems(engine: Engine, **keys: Any) -> list[KeyProblem]:
    with pytest.raises(Invalid) as caught:
        compiled(engine, **keys)
    found = [problem for problem in caught.value.problems if isinstance(problem, KeyProblem)]
    assert len(found) == len(caught.value.problems)
    return found


def test_every_key_that_cannot_be_expressed_is_named_with_the_build_and_a_way_out() -> None:
    keys = {"kv_cache": {"unified": True, "swa_full": True}, "cpu_moe": True, "lora": [{"path": "/a.gguf"}]}
    found = problems(binary("2025-08"), **keys)
    assert [problem.path for problem in found] == [("kv_cache", "unified"), ("kv_cache", "swa_full"), ("cpu_moe",)]
    assert str(found[0]) == (
        "llama-server 2025-08 has no option for kv_cache.unified: true; remove the key, take another build of "
        "llama-server (binary, $LLAMA_SERVER), or set engine: embedded"
    )
    assert "embedded" not in found[2].hint  # which cannot do it either


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--frobnicate"], "extra_args: llama-server 2026-10 does not know --frobnicate; see llama-server --help"),
        (["--hf_repo"], "does not know --hf_repo"),
        (
            ["--host=0.0.0.0"],
            "does not know --host=0.0.0.0; write its value as an item of its own: [--host, 0.0.0.0]",
        ),
        (["--tools", "all"], "--tools opens the server"),
        (["--threads-http", "--host"], "--host opens the server"),
        (["-c", "5"], "-c is the profile's key context; use context"),
        (["--draft", "5"], "has no --draft any more; use --spec-draft-n-max or --spec-ngram-mod-n-max"),
        *(
            ([option, "x"], f"{option} opens the server or takes over what the manager decides; set allow_unsafe")
            for option in ("--host", "-hf", "-mu", "--mcp-servers-json", "--path", "--log-file", "--ssl-key-file")
        ),
    ],
)
def test_extra_arguments_are_checked_against_the_help(arguments: list[str], said: str) -> None:
    found = problems(binary("2026-10"), extra_args=arguments)
    assert said in "\n".join(map(str, found)) and {problem.path[0] for problem in found} == {"extra_args"}


@pytest.mark.parametrize(
    ("arguments", "number", "said"),
    [
        (["0.0.0.0"], 0, "0.0.0.0 belongs to no option; write the option before it"),
        (
            ["--no-repack", "yes"],
            1,
            "yes belongs to no option: --no-repack takes no value; remove it, or write",
        ),
        (["--numa", "isolate", "all"], 2, "all belongs to no option: --numa takes one value"),
        (["--numa"], 0, "--numa lacks its value; write it as the next item: [--numa, TYPE]"),
        (["--numa", "--no-repack"], 0, "--numa lacks its value"),
        (["-ot"], 0, "-ot lacks its value; write it as the next item: [-ot, <tensor name pattern>=<buffer"),
        (
            ["--control-vector-layer-range", "1"],
            1,
            "lacks its value; write it as the next item: [--control-vector-",
        ),
        (["--no-repack", "--host", "::"], 1, "--host opens the server"),
        (["--no-mmap"], 0, "--no-mmap is the profile's key mmap; use mmap"),  # which this binary has no more
        (["--mlock"], 0, "use mlock"),
        (["-tb", "2"], 0, "use threads_batch"),
        (["--lora", "a.gguf"], 0, "use lora"),
    ],
)
def test_each_item_is_told_by_its_number(arguments: list[str], number: int, said: str) -> None:
    (problem,) = problems(binary("2026-10"), extra_args=arguments)
    assert said in str(problem) and problem.path == ("extra_args", number)


@pytest.mark.parametrize("month", DIALECTS)
def test_values_of_every_form_are_let_through(month: str) -> None:
    arguments = ["--control-vector-layer-range", "1", "2", "--top-k", "-1", "--override-tensor", "a b=CPU"]
    arguments = arguments if month != "2024-08" else arguments[:5]
    known_here = [*arguments[:5]] if "--override-tensor" not in known(month).options else arguments
    assert compiled(binary(month), extra_args=known_here).argv[-len(known_here) :] == known_here


def test_a_value_that_cannot_be_said_is_told_in_the_profiles_own_words() -> None:
    keys = {"kv_cache": {"ram": 2**31}, "devices": ["CUDA0", "CPU"], "mlock": True, "mmap": False}
    said = [problem.message for problem in problems(binary("2024-08"), **keys)]
    assert said == [
        "llama-server 2024-08 has no option for kv_cache.ram: 2GiB",
        "llama-server 2024-08 has no option for devices: [CUDA0, CPU]",
    ]


def test_an_adapter_whose_path_the_option_would_take_apart_is_refused() -> None:
    lora = [{"path": "/a.gguf"}, {"path": "/b:1,2.gguf"}]
    (problem,) = problems(binary("2026-10"), lora=lora)
    assert problem.path == ("lora", 1) and "takes no path with a comma or colon: /b:1,2.gguf" in problem.message
    assert "/b:1,2.gguf" in compiled(binary("2024-08"), lora=lora).argv


def test_a_folder_for_slots_is_a_key_and_no_argument() -> None:
    (problem,) = problems(binary("2026-10"), extra_args=["--slot-save-path", "/x"], allow_unsafe_args=True)
    assert problem.hint == "use slots_dir"


@pytest.mark.parametrize("engine", [binary("2026-10"), EMBEDDED])
@pytest.mark.parametrize("name", ["LLAMA_ARG_TOOLS", "LLAMA_ARG_HOST", "LLAMA_API_KEY"])
def test_an_option_in_the_environment_is_as_unsafe(engine: Engine, name: str) -> None:
    (problem,) = problems(engine, env={name: "all", "OMP_WAIT_POLICY": "PASSIVE"})
    assert problem.path == ("env", name) and "allow_unsafe_args" in problem.hint
    assert compiled(engine, env={"LLAMA_ARG_TOOLS": "all"}, allow_unsafe_args=True).env["LLAMA_ARG_TOOLS"] == "all"


def test_extra_arguments_that_are_allowed_stand_last() -> None:
    assert compiled(binary("2026-10"), extra_args=["--threads-http", "-1"]).argv[-2:] == ["--threads-http", "-1"]
    unsafe = compiled(binary("2026-10"), extra_args=["--tools", "all"], allow_unsafe_args=True)
    assert unsafe.argv[-2:] == ["--tools", "all"]


@pytest.mark.parametrize("engine", [binary("2026-10"), EMBEDDED])
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
    env = compiled(binary("2026-10"), given, env={"LD_PRELOAD": "mine"}).env
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
