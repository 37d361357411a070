"""Which environment variables change shipped profiles, and how: the table, and the rule of when they do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gptoss_flow.errors import Problem
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath, Layer, Origin, Variable, lay_over, says, settled_by
from gptoss_flow.lang.profile_parts import MODEL_SOURCES
from gptoss_flow.lang.profile_places import SHIPPED
from gptoss_flow.user_path import user_path

SHOWN_CHARS = 60
"""How much of a variable's text a message repeats."""

_SHIPPED = SHIPPED.resolve()

Read = Callable[[str], Any]
"""A variable's text to what a YAML file would say; text that it can make nothing of stays as it is."""


@dataclass(frozen=True, slots=True)
class Override:
    """An environment variable, and the key that it gives the value of."""

    name: str
    path: KeyPath
    read: Read
    allowed: str
    """What its value may be, in words."""
    holds: Callable[[Mapping[str, Any]], bool] = lambda merged: True
    """Whether it means anything for the merged profile."""
    yields_to: tuple[KeyPath, ...] = ()
    """Keys, beside its own, with which a user's own profile makes it mean nothing."""
    unsays: tuple[KeyPath, ...] = ()
    """Keys of shipped profiles that do not go with it."""
    is_searched: bool = False
    """Where a profile searches for its model, the search itself reads it: here it is only the search's origin."""
    is_told: bool = True
    """Messages may repeat its value, which holds no secret."""

    def layer(self, merged: Mapping[str, Any], text: str) -> dict[str, Any]:
        """What it says of a profile, as a file would."""
        search = merged.get("model", {}).get("search")
        if self.is_searched and search is not None:
            return {"model": {"search": search}}
        return _nested(self.path, self.read(text))


def _number(text: str) -> Any:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text


def _seconds(text: str) -> Any:
    return float(text) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]*)?|\.[0-9]+", text) else text


_SWITCHES = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


def _switch(text: str) -> Any:
    return _SWITCHES.get(text.lower(), text)


def _switch_or_auto(text: str) -> Any:
    on = _switch(text)
    return text.lower() if isinstance(on, str) else "on" if on else "off"


def _full_path(text: str) -> str:
    return str(user_path(text).absolute())


def _program(text: str) -> str:
    return _full_path(text) if "/" in text or text.startswith("~") else text


def _wants_gpt_oss(merged: Mapping[str, Any]) -> bool:
    model = merged.get("model", {})
    return "gpt-oss" in str(model.get("search") or model.get("file"))


def _may_run_a_binary(merged: Mapping[str, Any]) -> bool:
    return merged.get("engine", "auto") in ("auto", "llama-server") and "url" not in merged


_SOURCES: tuple[KeyPath, ...] = tuple(("model", key) for row in MODEL_SOURCES for key in row)
_ABOVE_0 = "a whole number above 0"
_FROM_0 = "a whole number, 0 or more"
_THREADS = "a number from 1 to 1024, or auto"
_ON_OFF = "1 or 0"
_CACHE_TYPE = "f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl"

OVERRIDES: tuple[Override, ...] = (
    Override(
        "GPT_OSS_URL", ("url",), str, "the address of a running server, like http://127.0.0.1:8000",
        holds=_wants_gpt_oss, yields_to=(("engine",), ("binary",), *_SOURCES),
        unsays=(*_SOURCES, ("context",), ("context_total",), ("parallel",)), is_told=False,
    ),
    Override(
        "GPT_OSS_MODEL", ("model", "id"), str, "what the server calls the model",
        holds=lambda merged: "url" in merged or _wants_gpt_oss(merged),
    ),
    Override(
        "GPT_OSS_MODEL_DIR", ("model", "dir"), _full_path, "a folder",
        holds=_wants_gpt_oss, yields_to=(("url",),), is_searched=True,
    ),
    Override(
        "GPT_OSS_GGUF_MODEL_PATH", ("model", "path"), _full_path, "a GGUF file",
        holds=_wants_gpt_oss, yields_to=(("url",),), is_searched=True,
    ),
    Override("LLAMA_SERVER", ("binary",), _program, "a program", holds=_may_run_a_binary),
    Override("GPT_OSS_PORT", ("listen", "port"), _number, "a port from 1 to 65535, or auto"),
    Override("GPT_OSS_CTX", ("context_total",), _number, "a number of tokens, for all slots together"),
    Override("GPT_OSS_PARALLEL", ("parallel",), _number, "a number from 1 to 256"),
    Override("GPT_OSS_BATCH", ("batch",), _number, _ABOVE_0),
    Override("GPT_OSS_UBATCH", ("ubatch",), _number, _ABOVE_0),
    Override("GPT_OSS_CACHE_TYPE_K", ("kv_cache", "k"), str.lower, _CACHE_TYPE),
    Override("GPT_OSS_CACHE_TYPE_V", ("kv_cache", "v"), str.lower, _CACHE_TYPE),
    Override("GPT_OSS_KV_UNIFIED", ("kv_cache", "unified"), _switch, _ON_OFF),
    Override("GPT_OSS_CACHE_REUSE", ("kv_cache", "reuse"), _number, _FROM_0),
    Override("GPT_OSS_SWA_FULL", ("kv_cache", "swa_full"), _switch, _ON_OFF),
    Override("GPT_OSS_FLASH_ATTN", ("flash_attention",), _switch_or_auto, "1, 0 or auto"),
    Override("GPT_OSS_THREADS", ("threads",), _number, _THREADS),
    Override("GPT_OSS_THREADS_BATCH", ("threads_batch",), _number, _THREADS),
    Override("GPT_OSS_WARMUP_COUNT", ("warmup", "count"), _number, _FROM_0),
    Override("GPT_OSS_WARMUP_PROMPT", ("warmup", "prompt"), str, "a text"),
    Override("GPT_OSS_WARMUP_MAX_TOKENS", ("warmup", "max_tokens"), _number, _ABOVE_0),
    Override("GPT_OSS_FORCE_WARMUP", ("warmup", "force"), _switch, _ON_OFF),
    Override("GPT_OSS_KEEPALIVE_SECS", ("keepalive", "every"), _seconds, "seconds like 1 or 0.5, or 0 for none"),
    Override("GPT_OSS_KEEPALIVE_MAX_TOKENS", ("keepalive", "max_tokens"), _number, _ABOVE_0),
    Override("GPT_OSS_KEEPALIVE_PID_FILE", ("keepalive", "pid_file"), _full_path, "a file"),
    Override("GPT_OSS_LOG", ("log", "file"), _full_path, "a file"),
)  # fmt: skip
"""The variables, in the order in which they are laid over a profile. An empty one counts as not set.

They change what a shipped profile says, also where a user's profile extends it; never a key that a flow or a
user's own profile says, be it with null; and nothing at all in a profile that no shipped one is part of.

All of them hold for every shipped profile, `demo` and `local` included, but for those that name a gpt-oss model or
its server: `demo` asks for another model, and keeps it. A URL counts before a file, and a file before a folder.
"""


def lay_environ(
    merged: dict[str, Any], origins: dict[KeyPath, Origin], chain: Sequence[Layer], environ: Mapping[str, str]
) -> list[Problem]:
    """Lay the variables over what was merged of `chain`, noting them as origins. What is wrong with them."""
    own = [layer.data for layer in chain if Path(layer.identity).parent != _SHIPPED]
    if len(own) == len(chain):
        return []
    problems = []
    for override in OVERRIDES:
        text = environ.get(override.name, "").strip()
        if not text or not override.holds(merged):
            continue
        layer, variable = override.layer(merged, text), Variable(override.name)
        if _is_said(own, (*settled_by(layer), *override.yields_to)):
            continue
        if not _is_allowed(layer):
            said = f'is "{text[:SHOWN_CHARS]}"' if override.is_told else "is not what it has to be"
            problems.append(Problem(None, f"{variable} {said}", f"allowed: {override.allowed}"))
            continue
        for path in override.unsays:
            if not _is_said(own, (path,)):
                lay_over(merged, origins, _nested(path, None), variable)
        lay_over(merged, origins, layer, variable)
    _cap_ubatch(merged, origins, own)
    return problems


def _cap_ubatch(merged: dict[str, Any], origins: dict[KeyPath, Origin], own: Sequence[Mapping[str, Any]]) -> None:
    """Where only `batch` was changed, lower `ubatch` with it, as llama.cpp does."""
    changed = origins.get(("batch",))
    is_free = not isinstance(origins.get(("ubatch",)), Variable) and not _is_said(own, (("ubatch",),))
    ubatch = merged.get("ubatch", Profile.model_fields["ubatch"].default)
    if isinstance(changed, Variable) and is_free and ubatch > merged["batch"]:
        lay_over(merged, origins, {"ubatch": merged["batch"]}, changed)


def _is_said(own: Sequence[Mapping[str, Any]], paths: Iterable[KeyPath]) -> bool:
    return any(says(data, path) for path in paths for data in own)


def _is_allowed(layer: Mapping[str, Any]) -> bool:
    try:
        Profile.model_validate(layer)
    except ValidationError:
        return False
    return True


def _nested(path: KeyPath, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` of the path a, b."""
    first, *rest = path
    return {str(first): _nested(tuple(rest), value) if rest else value}
