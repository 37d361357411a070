"""What a server profile may say: a profile file, and the merged profile, with every default.

A file is checked against `ProfileFile`, files are merged as plain data by `lang.profiles`, and what comes out is a
`Profile`. Its mappings are in `lang.profile_parts`, the rules that need more than one key in `lang.profile_rules`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.functional_validators import BeforeValidator

from gptoss_flow.lang.profile_parts import (
    Keepalive,
    KvCache,
    Layered,
    Listen,
    Log,
    Lora,
    ModelSource,
    Restart,
    Rope,
    Speculative,
    Warmup,
)
from gptoss_flow.lang.profile_values import (
    Address,
    ApiKey,
    EnvName,
    IdleTimeout,
    NonNegative,
    RpcServer,
    StartTimeout,
    Text,
    Tokens,
)
from gptoss_flow.sampling import Params

DEFAULT_CONTEXT_TOKENS = 4096
"""What one request may use where a profile gives neither `context` nor `context_total`."""

REQUEST_TIME = frozenset(
    {"name", "description", "request", "warmup", "keepalive", "idle_timeout", "start_timeout", "restart"}
)
"""The keys that two users of one process may differ in; `lora` scales and `log.file` too. Every other key is
load-time: a profile with another value needs another process."""


def _keepalive(value: Any) -> Any:
    """`0` and `1s` mean the mapping that says only how often."""
    return {"every": value} if isinstance(value, int | float | str) and not isinstance(value, bool) else value


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
    url: Address | None = None
    """The address of a server that somebody else runs; it is never started, stopped or signalled."""
    api: Literal["llama.cpp", "chat_completions", "responses"] = "llama.cpp"
    """How the server at `url` is spoken to: as llama.cpp's own, or by an API of OpenAI's (LM Studio, Ollama …).
    By those, `model.id` is sent as the model, and what needs tokens cannot be done."""
    build: Text | None = None
    """The build of llama.cpp that the server at `url` must be, by its beginning: `b11434`."""
    api_key: ApiKey = "auto"
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
    rpc: Annotated[list[RpcServer], Field(min_length=1)] | None = None
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
    idle_timeout: IdleTimeout = 0.0
    """How long the server stays after its last user: 0 not at all, -1 for good."""
    start_timeout: StartTimeout = "auto"
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
