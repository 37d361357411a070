"""What environment variables change in shipped profiles, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Invalid, Mark
from gptoss_flow.lang.document import parse_document
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_environ import OVERRIDES, Override
from gptoss_flow.lang.profile_layers import KeyPath, Variable
from gptoss_flow.lang.profile_places import SHIPPED, SearchPath
from gptoss_flow.lang.profiles import ResolvedProfile, resolve_profile

PLACES = SearchPath((Path("profiles"), SHIPPED))
FAST = "gpt-oss-20b-fast"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    Path("profiles").mkdir()


def write(name: str, text: str) -> None:
    Path(f"profiles/{name}.yaml").write_text(text)


def resolve(ref: str | dict[str, Any], **environ: str) -> ResolvedProfile:
    return resolve_profile(ref, places=PLACES, base_dir=Path.cwd(), needs_model=False, environ=environ)


def value(profile: Profile, path: KeyPath) -> Any:
    found: Any = profile
    for key in path:
        found = getattr(found, str(key))
    return found


def refusal(ref: str | dict[str, Any], **environ: str) -> str:
    with pytest.raises(Invalid) as caught:
        resolve(ref, **environ)
    return str(caught.value)


SET = {
    "GPT_OSS_URL": ("http://localhost:8000/", "http://localhost:8000"),
    "GPT_OSS_MODEL": ("mine", "mine"),
    "GPT_OSS_MODEL_DIR": ("/m", "/m"),
    "GPT_OSS_GGUF_MODEL_PATH": ("/m/a.gguf", "/m/a.gguf"),
    "LLAMA_SERVER": ("/bin/llama-server", "/bin/llama-server"),
    "GPT_OSS_PORT": ("9001", 9001),
    "GPT_OSS_CTX": ("1024", 1024),
    "GPT_OSS_PARALLEL": ("2", 2),
    "GPT_OSS_BATCH": ("512", 512),
    "GPT_OSS_UBATCH": ("128", 128),
    "GPT_OSS_CACHE_TYPE_K": ("Q8_0", "q8_0"),
    "GPT_OSS_CACHE_TYPE_V": ("q4_0", "q4_0"),
    "GPT_OSS_KV_UNIFIED": ("1", True),
    "GPT_OSS_CACHE_REUSE": ("64", 64),
    "GPT_OSS_SWA_FULL": ("true", True),
    "GPT_OSS_FLASH_ATTN": ("0", "off"),
    "GPT_OSS_THREADS": ("3", 3),
    "GPT_OSS_THREADS_BATCH": ("auto", "auto"),
    "GPT_OSS_WARMUP_COUNT": ("0", 0),
    "GPT_OSS_WARMUP_PROMPT": ("1+1=", "1+1="),
    "GPT_OSS_WARMUP_MAX_TOKENS": ("1", 1),
    "GPT_OSS_FORCE_WARMUP": ("1", True),
    "GPT_OSS_KEEPALIVE_SECS": ("0.5", 0.5),
    "GPT_OSS_KEEPALIVE_MAX_TOKENS": ("2", 2),
    "GPT_OSS_KEEPALIVE_PID_FILE": ("/run/pid", "/run/pid"),
    "GPT_OSS_LOG": ("/var/log/a.log", "/var/log/a.log"),
}
"""Of each variable a text, and the value that it means."""


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda override: override.name)
def test_a_variable_gives_a_shipped_profile_its_value_and_is_named_as_the_origin(override: Override) -> None:
    text, meant = SET[override.name]
    resolved = resolve(FAST, **{override.name: text})
    assert value(resolved.profile, override.path) == meant
    assert resolved.origin(override.path) == Variable(override.name)
    assert str(resolved.origin(override.path)) == f"${override.name}"


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_without_variables_or_with_empty_ones_a_shipped_profile_is_as_its_files_say(name: str) -> None:
    assert resolve(name, **dict.fromkeys(SET, "")) == resolve(name)
    assert resolve(name, PATH="/bin", GPT_OSS_OTHER="x") == resolve(name)


def test_the_fast_profile_has_the_defaults_that_the_variables_always_had() -> None:
    unset = resolve(FAST).profile
    texts = {
        "GPT_OSS_PORT": "8000", "GPT_OSS_CTX": "384", "GPT_OSS_BATCH": "256", "GPT_OSS_UBATCH": "256",
        "GPT_OSS_PARALLEL": "4", "GPT_OSS_WARMUP_COUNT": "2", "GPT_OSS_WARMUP_PROMPT": "warmup",
        "GPT_OSS_WARMUP_MAX_TOKENS": "8", "GPT_OSS_KEEPALIVE_SECS": "1", "GPT_OSS_KEEPALIVE_MAX_TOKENS": "1",
        "GPT_OSS_CACHE_TYPE_K": "f16", "GPT_OSS_CACHE_TYPE_V": "f16",
        "GPT_OSS_FLASH_ATTN": "1", "GPT_OSS_CACHE_REUSE": "0", "GPT_OSS_SWA_FULL": "0",
        "GPT_OSS_MODEL_DIR": "~/models/gpt-oss-20b/gguf",
    }  # fmt: skip
    assert resolve(FAST, **texts).profile == unset
    assert (unset.gpu_layers, unset.mmap, unset.idle_timeout, unset.context_per_slot) == ("all", False, 0.0, 96)
    assert unset.model.quants == ["Q4_0", "Q3_K_S", "Q2_K", "Q4_K_M", "MXFP4"]


# --- whose values they change ----------------------------------------------------------------------------


def test_a_users_own_key_is_kept_and_the_shipped_ones_that_it_extends_are_changed() -> None:
    write("mine", f"{{extends: {FAST}, parallel: 2, kv_cache: {{k: q8_0}}}}")
    resolved = resolve("mine", GPT_OSS_PARALLEL="8", GPT_OSS_CACHE_TYPE_K="f32", GPT_OSS_CACHE_TYPE_V="bf16")
    assert (resolved.profile.parallel, resolved.profile.kv_cache.k) == (2, "q8_0")
    assert resolved.profile.kv_cache.v == "bf16"
    assert resolved.origin(("parallel",)) == Mark("profiles/mine.yaml", 1, 39)


@pytest.mark.parametrize("order", ["[mine, base]", "[base, mine]"])
def test_a_users_own_key_is_kept_wherever_it_stands_in_the_order(order: str) -> None:
    write("mine", "{batch: 4096}")
    write("top", f"{{extends: {order}}}")
    expected = 2048 if order == "[mine, base]" else 4096
    assert resolve("top", GPT_OSS_BATCH="1024").profile.batch == expected


def test_a_null_of_the_user_is_a_key_that_was_said() -> None:
    write("mine", f"{{extends: {FAST}, warmup: null, listen: {{port: null}}}}")
    resolved = resolve("mine", GPT_OSS_WARMUP_COUNT="7", GPT_OSS_PORT="9000")
    assert (resolved.profile.warmup.count, resolved.profile.listen.port) == (0, "auto")


def test_the_other_way_to_say_the_context_is_kept_too() -> None:
    write("mine", f"{{extends: {FAST}, context: 2000}}")
    profile = resolve("mine", GPT_OSS_CTX="384").profile
    assert (profile.context, profile.context_total) == (2000, None)


def test_a_profile_without_a_shipped_part_is_not_changed_nor_is_the_variable_read() -> None:
    write("mine", "{model: {path: /m/a.gguf}}")
    assert resolve("mine", GPT_OSS_PARALLEL="none", GPT_OSS_CTX="100") == resolve("mine")


def test_a_flows_own_key_is_kept() -> None:
    document = parse_document("servers:\n  main: {extends: demo, parallel: 3}\n", "f.yaml")
    resolved = resolve_profile(
        {"extends": "demo", "parallel": 3}, places=PLACES, base_dir=Path.cwd(), document=document,
        path=("servers", "main"), environ={"GPT_OSS_PARALLEL": "1", "GPT_OSS_THREADS": "1"},
    )  # fmt: skip
    assert (resolved.profile.parallel, resolved.profile.threads) == (3, 1)
    assert resolved.origin(("parallel",)) == Mark("f.yaml", 2, 35)


def test_they_hold_for_every_alternative_of_local() -> None:
    alternatives = resolve("local", GPT_OSS_CTX="4000", GPT_OSS_THREADS="1").alternatives
    assert [(each.profile.context_of_all_slots, each.profile.threads) for each in alternatives] == [(4000, 1)] * 2


# --- models and servers ----------------------------------------------------------------------------------


def test_demo_keeps_its_own_model_whatever_names_a_gpt_oss_one() -> None:
    named = {"GPT_OSS_URL": "http://h:1", "GPT_OSS_GGUF_MODEL_PATH": "/m/a.gguf", "GPT_OSS_MODEL_DIR": "/m"}
    assert resolve("demo", **named, GPT_OSS_MODEL="x") == resolve("demo")


def test_a_folder_keeps_the_names_of_the_files_and_a_file_wins_over_a_folder() -> None:
    model = resolve(FAST, GPT_OSS_MODEL_DIR="~/other").profile.model
    assert (model.dir, model.file) == (str(Path("~/other").expanduser()), "gpt-oss-20b-{quant}.gguf")
    both = resolve(FAST, GPT_OSS_MODEL_DIR="/m", GPT_OSS_GGUF_MODEL_PATH="a.gguf").profile.model
    assert both.model_dump(exclude_none=True) == {"path": str(Path("a.gguf").absolute())}


def test_a_users_own_model_is_kept_and_its_server_managed() -> None:
    write("mine", f"{{extends: {FAST}, model: {{path: /m/mine.gguf}}}}")
    named = {"GPT_OSS_URL": "http://h:1", "GPT_OSS_GGUF_MODEL_PATH": "/m/a.gguf", "GPT_OSS_MODEL_DIR": "/m"}
    assert resolve("mine", **named) == resolve("mine")


def test_a_search_stays_one_and_names_the_variable_that_decides_it() -> None:
    for name in ("GPT_OSS_MODEL_DIR", "GPT_OSS_GGUF_MODEL_PATH"):
        resolved = resolve("gpt-oss", **{name: "/m"})
        assert resolved.profile.model.sources == ["search"]
        assert resolved.origin(("model", "search")) == Variable(name)


def test_a_url_makes_it_somebody_elses_server_that_is_asked_for_nothing_that_a_shipped_profile_says() -> None:
    resolved = resolve(FAST, GPT_OSS_URL="http://h:1", GPT_OSS_GGUF_MODEL_PATH="/m/a.gguf", GPT_OSS_MODEL="m")
    profile = resolved.profile
    assert (profile.resolved_engine, profile.model.sources, profile.model.id) == ("external", [], "m")
    assert not {"parallel", "context", "context_total"} & profile.model_fields_set
    assert resolve(FAST, GPT_OSS_URL="http://h:1", GPT_OSS_PARALLEL="2").profile.parallel == 2


def test_a_program_may_be_a_name_and_a_profile_of_the_embedded_engine_has_none() -> None:
    assert resolve("demo", LLAMA_SERVER="llama-server-vulkan").profile.binary == "llama-server-vulkan"
    assert resolve("demo", LLAMA_SERVER="~/b/s").profile.binary == str(Path("~/b/s").expanduser())
    assert resolve({"extends": "demo", "engine": "embedded"}, LLAMA_SERVER="/b/s").profile.binary is None


def test_ubatch_is_lowered_with_batch_unless_somebody_says_it() -> None:
    lowered = resolve(FAST, GPT_OSS_BATCH="64")
    assert (lowered.profile.ubatch, str(lowered.origin(("ubatch",)))) == (64, "$GPT_OSS_BATCH")
    said = refusal(FAST, GPT_OSS_BATCH="64", GPT_OSS_UBATCH="128")
    assert said == "$GPT_OSS_UBATCH: ubatch (128) is above batch (64); lower it"
    assert "inline profile" in refusal({"extends": FAST, "ubatch": 128}, GPT_OSS_BATCH="64")


# --- values that are not allowed -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("GPT_OSS_PORT", "99999", "a port from 1 to 65535, or auto"),
        ("GPT_OSS_PORT", "0", "a port from 1 to 65535, or auto"),
        ("GPT_OSS_PARALLEL", "four", "a number from 1 to 256"),
        ("GPT_OSS_PARALLEL", "257", "a number from 1 to 256"),
        ("GPT_OSS_CTX", "-1", "a number of tokens, for all slots together"),
        ("GPT_OSS_CTX", "4k", "a number of tokens, for all slots together"),
        ("GPT_OSS_BATCH", "0", "a whole number above 0"),
        ("GPT_OSS_UBATCH", "9" * 5000, "a whole number above 0"),
        ("GPT_OSS_CACHE_REUSE", "1.5", "a whole number, 0 or more"),
        ("GPT_OSS_CACHE_TYPE_K", "q5", "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl"),
        ("GPT_OSS_KV_UNIFIED", "maybe", "1 or 0"),
        ("GPT_OSS_SWA_FULL", "2", "1 or 0"),
        ("GPT_OSS_FLASH_ATTN", "2", "1, 0 or auto"),
        ("GPT_OSS_THREADS", "0", "a number from 1 to 1024, or auto"),
        ("GPT_OSS_THREADS_BATCH", "1025", "a number from 1 to 1024, or auto"),
        ("GPT_OSS_WARMUP_COUNT", "²", "a whole number, 0 or more"),
        ("GPT_OSS_WARMUP_MAX_TOKENS", "0", "a whole number above 0"),
    ],
)
def test_a_value_that_is_not_allowed_names_the_variable_and_what_is(name: str, text: str, allowed: str) -> None:
    assert refusal(FAST, **{name: text}) == f'${name} is "{text[:60]}"; allowed: {allowed}'


def test_an_address_that_is_none_is_not_repeated_because_it_may_hold_a_password() -> None:
    said = refusal(FAST, GPT_OSS_URL="http://me:secret@host")
    assert said.startswith("$GPT_OSS_URL is not what it has to be; allowed: the address of a running server")
    assert "secret" not in said


def test_every_variable_that_is_wrong_is_said_once_although_there_are_two_alternatives() -> None:
    said = refusal("local", GPT_OSS_PORT="x", GPT_OSS_THREADS="y").splitlines()
    assert [line.split()[0] for line in said] == ["$GPT_OSS_PORT", "$GPT_OSS_THREADS"]


def test_a_wrong_variable_does_not_matter_where_the_user_says_the_key() -> None:
    write("mine", f"{{extends: {FAST}, parallel: 2}}")
    assert resolve("mine", GPT_OSS_PARALLEL="none").profile.parallel == 2


def test_a_contradiction_with_a_variable_names_it() -> None:
    said = refusal(FAST, GPT_OSS_CACHE_TYPE_V="q8_0", GPT_OSS_FLASH_ATTN="0")
    assert said.startswith("$GPT_OSS_CACHE_TYPE_V: a q8_0 V cache needs flash attention")


def test_the_last_value_that_is_allowed_is_one_that_a_profile_takes() -> None:
    most = {"GPT_OSS_PORT": 65535, "GPT_OSS_PARALLEL": 256, "GPT_OSS_THREADS": 1024, "GPT_OSS_THREADS_BATCH": 1024}
    profile = resolve("demo", **{name: str(number) for name, number in most.items()}).profile
    assert [value(profile, each.path) for each in OVERRIDES if each.name in most] == [65535, 256, 1024, 1024]
