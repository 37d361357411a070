from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.server.flags import FLAGS, HABITS, Help, is_unsafe

DATA = Path(__file__).parents[1] / "data" / "llama_help"


DIALECTS = ("2024-08", "2025-08", "2026-07", "2026-10")
"""The whole `--help` of builds 3600, 6200, 10001 and 11434, the second and third out of their readme."""


def known(month: str) -> Help:
    return Help.parse((DATA / f"{month}.txt").read_text("utf-8"))


def said(key: str, value: Any, month: str) -> list[str] | None:
    """What the first spelling says that can, in the dialect of this month; None where none can."""
    flag = next(flag for flag in FLAGS if flag.key == key)
    rendered = (spelling(known(month), value) for spelling in flag.spellings)
    return next((each for each in rendered if each is not None), None)


def test_every_name_of_an_option_is_known_with_its_placeholder_and_text() -> None:
    options = known("2026-10").options
    assert options["-ngl"] is options["--n-gpu-layers"] and options["-ngl"].hint == "N"
    assert options["--no-kv-offload"].hint == "" and "enable KV cache offloading" in options["-kvo"].text
    assert "mmap+mlock" in options["--load-mode"].text
    assert options["--lora-scaled"].hint == "FNAME:SCALE,..."
    assert options["--fim-qwen-1.5b-default"].hint == ""


@pytest.mark.parametrize(("month", "count"), [*zip(DIALECTS, (190, 228, 398, 412), strict=True)])
def test_a_whole_help_is_read(month: str, count: int) -> None:
    assert len(known(month).options) == pytest.approx(count, abs=3)
    assert {"--model", "--host", "--port", "--ctx-size", "--api-key"} <= known(month).options.keys()


def test_a_headline_is_no_option_and_ends_the_text_of_the_one_before() -> None:
    for month in DIALECTS:
        options = known(month).options
        assert not any("params" in name for name in options)
        assert not any("-----" in option.text for option in options.values())


def test_an_option_without_a_short_name_was_indented_once() -> None:
    options = known("2024-08").options
    assert options["--mlock"].hint == "" and options["--draft"].hint == "N"
    assert options["--lora-scaled"].hint == "FNAME S"


NONE = None
KEYS: tuple[tuple[str, Any, tuple[list[str] | None, ...]], ...] = (
    ("context", 4096, (["--ctx-size", "4096"],) * 4),
    ("parallel", 3, (["--parallel", "3"],) * 4),
    ("batch", 256, (["--batch-size", "256"],) * 4),
    ("ubatch", 128, (["--ubatch-size", "128"],) * 4),
    ("kv_cache.unified", True, (NONE, NONE, ["--kv-unified"], ["--kv-unified"])),
    ("kv_cache.unified", False, ([], [], ["--no-kv-unified"], ["--no-kv-unified"])),
    ("kv_cache.k", "q8_0", (["--cache-type-k", "q8_0"],) * 4),
    ("kv_cache.v", "q8_0", (["--cache-type-v", "q8_0"],) * 4),
    ("kv_cache.offload", True, ([],) * 4),
    ("kv_cache.offload", False, (["--no-kv-offload"],) * 4),
    ("kv_cache.reuse", 64, (NONE, *(["--cache-reuse", "64"],) * 3)),
    ("kv_cache.reuse", 0, ([], *(["--cache-reuse", "0"],) * 3)),
    ("kv_cache.swa_full", True, (NONE, NONE, ["--swa-full"], ["--swa-full"])),
    ("kv_cache.swa_full", False, ([],) * 4),
    ("kv_cache.ram", 512, (NONE, NONE, ["--cache-ram", "512"], ["--cache-ram", "512"])),
    ("kv_cache.ram", 0, ([], [], ["--cache-ram", "0"], ["--cache-ram", "0"])),
    ("flash_attention", "on", (["--flash-attn"],) * 2 + (["--flash-attn", "on"],) * 2),
    ("flash_attention", "off", ([],) * 2 + (["--flash-attn", "off"],) * 2),
    ("flash_attention", "auto", ([],) * 2 + (["--flash-attn", "auto"],) * 2),
    ("gpu_layers", "all", ([], ["--n-gpu-layers", "999"], *(["--n-gpu-layers", "all"],) * 2)),
    ("gpu_layers", "auto", ([], [], *(["--n-gpu-layers", "auto"],) * 2)),
    ("gpu_layers", 12, (NONE, *(["--n-gpu-layers", "12"],) * 3)),
    ("devices", ["CUDA0", "CUDA1"], (NONE, *(["--device", "CUDA0,CUDA1"],) * 3)),
    ("tensor_split", [3.0, 1.0], (NONE, *(["--tensor-split", "3.0,1.0"],) * 3)),
    ("rpc", ["a:1", "b:2"], (["--rpc", "a:1,b:2"], NONE, NONE, ["--rpc", "a:1,b:2"])),
    ("cpu_moe", True, (NONE, NONE, ["--cpu-moe"], ["--cpu-moe"])),
    ("n_cpu_moe", 4, (NONE, NONE, ["--n-cpu-moe", "4"], ["--n-cpu-moe", "4"])),
    ("mmap", "mmap", ([],) * 3 + (["--load-mode", "mmap"],)),
    ("mmap", "", (["--no-mmap"],) * 3 + (["--load-mode", "none"],)),
    ("mmap", "mlock", (["--no-mmap", "--mlock"],) * 3 + (["--load-mode", "mlock"],)),
    ("mmap", "mmap+mlock", (["--mlock"],) * 3 + (["--load-mode", "mmap+mlock"],)),
    ("rope.scaling", "yarn", (["--rope-scaling", "yarn"],) * 4),
    ("rope.scale", 2.0, (["--rope-scale", "2.0"],) * 4),
    ("rope.freq_base", 1e4, (["--rope-freq-base", "10000.0"],) * 4),
    ("rope.freq_scale", 0.5, (["--rope-freq-scale", "0.5"],) * 4),
    ("speculative.model", "d.gguf", (["--model-draft", "d.gguf"],) * 2 + (["--spec-draft-model", "d.gguf"],) * 2),
    (
        "speculative.max_tokens", 8,
        (["--draft", "8"], ["--draft-max", "8"], ["--spec-draft-n-max", "8"], ["--spec-draft-n-max", "8"]),
    ),
    (
        "speculative.min_tokens", 2,
        (NONE, ["--draft-min", "2"], ["--spec-draft-n-min", "2"], ["--spec-draft-n-min", "2"]),
    ),
    (
        "speculative.min_probability", 0.5,
        (NONE, ["--draft-p-min", "0.5"], ["--spec-draft-p-min", "0.5"], ["--spec-draft-p-min", "0.5"]),
    ),
    ("chat_template_file", "t.jinja", (NONE, *(["--chat-template-file", "t.jinja"],) * 3)),
    ("seed", 7, (["--seed", "7"],) * 4),
    ("metrics", True, (["--metrics"],) * 4),
    ("metrics", False, ([],) * 4),
    ("slots_dir", "/s/", (["--slot-save-path", "/s/"],) * 4),
    ("model.alias", "m", (NONE, *(["--alias", "m"],) * 3)),
    ("log.level", 3, ([], [], ["--verbosity", "3"], ["--verbosity", "3"])),
)  # fmt: skip
"""Every key in every dialect. None: that binary has no option for it."""


@pytest.mark.parametrize(("key", "value", "expected"), KEYS, ids=[f"{key}={value}" for key, value, _ in KEYS])
def test_a_key_is_said_in_every_dialect(key: str, value: Any, expected: tuple[list[str] | None, ...]) -> None:
    assert [said(key, value, month) for month in DIALECTS] == list(expected)


def test_no_key_is_missing_in_the_table_above() -> None:
    assert {key for key, _, _ in KEYS} == {flag.key for flag in FLAGS}


@pytest.mark.parametrize("month", DIALECTS)
def test_a_removed_option_is_not_used_though_its_help_names_it(month: str) -> None:
    help_ = known(month)
    removed = [option for option in help_.options.values() if option.is_removed]
    assert bool(removed) == (month >= "2026")
    assert not any(name in help_ for option in removed for name in option.names)


def test_no_two_rows_say_the_same_key_or_own_the_same_option() -> None:
    keys = [flag.key for flag in FLAGS]
    owned = [name for flag in FLAGS for name in flag.owns]
    assert len(set(keys)) == len(keys) and len(set(owned)) == len(owned)


def test_a_habit_that_the_binary_does_not_know_is_left_out() -> None:
    said = [
        next((s for r in habit.spellings if (s := r(Help({}), habit.value)) is not None), []) for habit in HABITS
    ]
    assert said == [[]] * len(HABITS)


UNSAFE_WORDS = (
    "--host", "--port", "--reuse-port", "--path", "--api-prefix", "--api-key", "--api-key-file", "--ssl-key-file",
    "--ssl-cert-file", "--cors-origins", "--ui", "--ui-mcp-proxy", "--tools", "--agent", "--mcp-servers-config",
    "--mcp-servers-json", "--media-path", "--props", "--rpc", "--video-ffmpeg-dir", "-m", "-mu", "-hf", "-hff",
    "-hft", "-hfd", "-dr", "-mmu", "--models-dir", "--models-preset", "--log-file", "--log-prompts-dir", "-lcd",
    "--slot-save-path", "--gpt-oss-20b-default", "--fim-qwen-1.5b-default", "--fim-qwen-7b-spec", "--version",
)  # fmt: skip


@pytest.mark.parametrize("name", UNSAFE_WORDS)
def test_what_opens_the_server_or_fetches_is_unsafe_by_any_of_its_names(name: str) -> None:
    options = known("2026-10").options
    assert all(is_unsafe(options[each]) for each in options[name].names)


@pytest.mark.parametrize("month", DIALECTS)
def test_no_option_that_may_fetch_or_serve_others_has_been_overlooked(month: str) -> None:
    words = ("download", "api key", "ssl", "cors", "listen", "hugging face", "mcp", "proxy", "docker")
    told = {option.names[-1] for option in known(month).options.values() if not is_unsafe(option)
            and any(word in option.text.lower() for word in words)}  # fmt: skip
    assert told <= {"--offline", "--no-mmproj-auto", "--api-prefix"}


def test_a_harmless_option_is_not() -> None:
    assert not is_unsafe(known("2026-10").options["--threads-http"])
