"""What a server died of is told at the key that says it."""

from __future__ import annotations

import pytest

from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.server.blame import blamed
from gptoss_flow.server.causes import classify

PROFILE = Profile.model_validate(
    {
        "model": {"path": "/m.gguf"},
        "devices": ["CUDA0"],
        "extra_args": ["--top-k", "x"],
        "lora": [{"path": "/a"}],
        "chat_template_file": "/t.jinja",
    }
)
PLAIN = Profile.model_validate({"model": {"path": "/m.gguf"}})
BROKEN = "llama_model_load: error loading model: missing tensor"


@pytest.mark.parametrize(
    ("tail", "path"),
    [
        ('error while handling argument "--device": invalid device: CUDA0', ("devices",)),
        ('error while handling argument "--top-k": stoi', ("extra_args", 0)),
        ('error while handling argument "--cache-type-v": Unsupported cache type', ("kv_cache", "v")),
        ("error: invalid argument: --frobnicate", ()),
        ('error while handling argument "--host": no', ()),
        ("gguf_init_from_file: failed to open GGUF file", ("model", "path")),
        ("llama_model_load: error loading model: missing tensor", ("model", "path")),
        ("failed to load lora adapter", ("lora",)),
        ("chat template parsing error", ("chat_template_file",)),
        ("GGML_ASSERT(a == b) failed", ()),
    ],
)
def test_the_key_is_read_from_the_cause(tail: str, path: KeyPath) -> None:
    assert blamed(PROFILE, classify(1, tail)) == path


def test_a_template_of_the_models_own_is_not_the_keys() -> None:
    assert blamed(PLAIN, classify(1, "chat template parsing error")) == ("model", "path")


@pytest.mark.parametrize("more", [{"speculative": {"model": "/d.gguf"}}, {"extra_args": ["--mmproj", "/p.gguf"]}])
def test_of_two_model_files_none_is_blamed(more: dict[str, object]) -> None:
    two = Profile.model_validate({"model": {"path": "/m.gguf"}, **more})
    assert blamed(two, classify(1, BROKEN)) == ()
    assert blamed(PLAIN, classify(1, BROKEN)) == ("model", "path")
