"""What does not go together in a merged profile: the rules that need more than one key.

They see only the merged profile: the half of a pair that a file leaves out may come from the file that it extends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import NamedTuple

from gptoss_flow.fields import is_template
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_parts import MODEL_PINS, MODEL_SOURCES


class Contradiction(NamedTuple):
    """Keys of a profile that do not go together: the key to point at, what is wrong, what to do."""

    path: tuple[str | int, ...]
    message: str
    hint: str


def contradictions(profile: Profile) -> Iterator[Contradiction]:
    """What is wrong with a merged profile as a whole, in no particular order."""
    yield from _model_contradictions(profile)
    if profile.context is not None and profile.context_total is not None:
        yield Contradiction(
            ("context_total",),
            "context and context_total contradict each other",
            "keep one; context is for each slot",
        )
    if profile.context_of_all_slots > 2**31 - 1:
        key = "context_total" if profile.context_total else "context"
        yield Contradiction(
            (key,), "all slots together have more than 2,147,483,647 tokens", "lower context or parallel"
        )
    if profile.context_per_slot < 1:
        yield Contradiction(
            ("context_total",), f"context_total leaves nothing for each of {profile.parallel} slots", "raise it"
        )
    if profile.ubatch > profile.batch:
        yield Contradiction(("ubatch",), f"ubatch ({profile.ubatch}) is above batch ({profile.batch})", "lower it")
    if profile.kv_cache.v not in ("f32", "f16", "bf16") and profile.flash_attention == "off":
        yield Contradiction(
            ("kv_cache", "v"), f"a {profile.kv_cache.v} V cache needs flash attention", "set flash_attention: on"
        )
    if profile.rope.scale is not None and profile.rope.freq_scale is not None:
        yield Contradiction(
            ("rope", "freq_scale"),
            "rope.scale and rope.freq_scale say the same thing",
            "keep one; 1/scale is freq_scale",
        )
    if profile.cpu_moe and profile.n_cpu_moe is not None:
        yield Contradiction(("n_cpu_moe",), "cpu_moe and n_cpu_moe contradict each other", "keep one")
    if profile.speculative is not None and profile.speculative.model is None:
        yield Contradiction(("speculative",), "speculative needs a draft model", "add model: a GGUF file")
    if profile.engine == "external" and profile.url is None:
        yield Contradiction(("engine",), "engine external needs a url", "add url: http://host:port")
    if profile.engine not in ("external", "auto") and profile.url is not None:
        yield Contradiction(("url",), f"a url needs engine external, not {profile.engine}", "remove one of them")
    for key in ("api", "build"):
        asked = key in profile.model_fields_set and getattr(profile, key) != Profile.model_fields[key].default
        if asked and profile.url is None:
            yield Contradiction(
                (key,), f"{key} is for a server that somebody else runs", "add url: http://host:port, or remove it"
            )
    if profile.build is not None and profile.api != "llama.cpp":
        yield Contradiction(
            ("build",), f"a server that is asked by {profile.api} does not tell its build", "remove one of them"
        )
    if profile.engine == "embedded" and profile.binary is not None:
        yield Contradiction(("binary",), "engine embedded has no binary", "remove one of them")
    if profile.api_key == "none" and not _is_loopback(profile.listen.host):
        yield Contradiction(
            ("listen", "host"),
            f"a server that listens on {profile.listen.host} is open to others without a key",
            "set api_key: auto, or listen on 127.0.0.1",
        )
    for key, value in profile.request:
        if any(
            isinstance(text, str) and is_template(text) for text in (value if isinstance(value, list) else [value])
        ):
            yield Contradiction(
                ("request", key),
                f"request.{key} holds an expression",
                "a profile has plain values; use a step's params",
            )


def _model_contradictions(profile: Profile) -> Iterator[Contradiction]:
    model = profile.model
    given = model.sources
    named = [key for key in given if key not in MODEL_PINS]
    if sum(any(key in named for key in row) for row in MODEL_SOURCES) > 1:
        yield Contradiction(
            ("model", named[-1]),
            f"model has more than one source: {', '.join(named)}",
            "keep path, or dir and file, or pypi, or url, or hf, or search, or built",
        )
    if (model.dir is None) != (model.file is None):
        has, lacks = ("dir", "file") if model.file is None else ("file", "dir")
        yield Contradiction(("model", has), f"model.{has} needs model.{lacks}", f"add {lacks}")
    if model.file is not None and ("{quant}" in model.file) != (model.quants is not None):
        yield Contradiction(
            ("model", "file"),
            "model.file and model.quants do not fit",
            "write {quant} in file and list quants, or neither",
        )
    if model.file is not None and ("/" in model.file or "\\" in model.file):
        yield Contradiction(
            ("model", "file"), "model.file is a name in model.dir, not a path", "put folders into dir"
        )
    if model.quants is not None and model.file is None:
        yield Contradiction(("model", "quants"), "model.quants needs model.dir and model.file", "add them")
    for key in ("pypi", "url"):
        if getattr(model, key) is not None and model.sha256 is None:
            yield Contradiction(("model", key), f"model.{key} needs model.sha256", "add sha256, of the GGUF file")
    for key in MODEL_PINS:
        if getattr(model, key) is not None and model.pypi is None and model.url is None:
            yield Contradiction(
                ("model", key), f"model.{key} needs model.pypi or model.url", "add one of them, or remove it"
            )
    if profile.resolved_engine == "external" and given:
        yield Contradiction(
            ("model", given[0]),
            "an external server has its own model",
            "name it with model.id, without a source; model: null removes an inherited one",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
