"""How each key of a profile is said to a server: in llama-server's spellings through the years, and embedded.

One row a key. Of a row's spellings the first that the binary's own `--help` knows, and that can express the value,
is used. A new dialect is one more spelling here and nothing elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gptoss_flow.lang.profile import Profile

# Before autumn 2024 an option without a short name stood nine columns in; what goes on starts at column 34 or 40.
_OPTION = re.compile(
    r"^ {0,12}(?P<names>-{1,2}[A-Za-z][\w.-]*(?:, *-{1,2}[A-Za-z][\w.-]*)*)"
    r"(?: (?P<hint>\S.*?))?(?: {2,}(?P<text>.*))?$"
)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a `--help`: its names, the placeholder of its value ('' for none), what is said about it."""

    names: tuple[str, ...]
    hint: str
    text: str

    @property
    def is_removed(self) -> bool:
        """It is named only to say what took its place: the binary refuses it."""
        return "argument has been removed" in self.text

    @property
    def values(self) -> int:
        """How many arguments behind its name belong to it."""
        return len(re.sub(r"<[^>]*>", "_", self.hint).split())


@dataclass(frozen=True, slots=True)
class Help:
    """What one binary's `--help` offers, by every name."""

    options: Mapping[str, Option]

    @classmethod
    def parse(cls, text: str) -> Help:
        options: dict[str, Option] = {}
        names: tuple[str, ...] = ()
        for line in text.splitlines():
            if match := _OPTION.match(line):
                names = tuple(name.strip() for name in match["names"].split(","))
                option = Option(names, match["hint"] or "", match["text"] or "")
            elif names and line.startswith(" "):
                last = options[names[-1]]
                option = Option(names, last.hint, f"{last.text}\n{line.strip()}")
            else:
                names = ()
                continue
            options.update(dict.fromkeys(names, option))
        return cls(options)

    def find(self, name: str) -> Option | None:
        """The option of this name, if it can be used."""
        option = self.options.get(name)
        return None if option is None or option.is_removed else option

    def __contains__(self, name: str) -> bool:
        return self.find(name) is not None


Render = Callable[[Help, Any], list[str] | None]
"""The arguments for a value, or None where this spelling is unknown to the binary or cannot express the value."""


def takes(*names: str, when: str = "") -> Render:
    """`--name VALUE`, by the first name that is known and takes a value (`when`: and whose text says this)."""

    def render(known: Help, value: Any) -> list[str] | None:
        for name in names:
            option = known.find(name)
            if option and option.hint and when in f"{option.hint}\n{option.text}":
                return [name, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
        return None

    return render


def says(needs: str, words: Mapping[Any, list[str]], *, bare: bool = False) -> Render:
    """The arguments that `words` has for the value, where `needs` is known (`bare`: and takes no value)."""

    def render(known: Help, value: Any) -> list[str] | None:
        option = known.find(needs)
        if option is None or (bare and option.hint):
            return None
        return words.get(value)

    return render


def unsaid(*values: Any) -> Render:
    """Nothing needs to be said for these values: they are what a binary without the option does anyway."""
    return lambda _, value: [] if value in values else None


@dataclass(frozen=True, slots=True)
class Flag:
    """One key: what it asks for (`value`; None: nothing), and how that is said to each engine.

    `embed` gives attributes of xllamacpp's `CommonParams`; None where that engine cannot express the key.
    """

    key: str
    value: Callable[[Profile], Any]
    spellings: tuple[Render, ...]
    embed: Callable[[Any], dict[str, Any]] | None = None
    owns: tuple[str, ...] = field(default=())
    """The options that belong to this key alone, so that `extra_args` may not say them too."""


def _as(name: str) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {name: value}


_SPLIT_MAX = 128
"""Devices that llama.cpp's array of shares has room for."""
_LEVELS = {"error": 1, "warning": 2, "info": 3, "debug": 5}

FLAGS: tuple[Flag, ...] = (
    Flag("context", lambda p: p.context_of_all_slots, (takes("--ctx-size"),), _as("n_ctx"), ("--ctx-size",)),
    Flag("parallel", lambda p: p.parallel, (takes("--parallel"),), _as("n_parallel"), ("--parallel",)),
    Flag("batch", lambda p: p.batch, (takes("--batch-size"),), _as("n_batch"), ("--batch-size",)),
    Flag("ubatch", lambda p: p.ubatch, (takes("--ubatch-size"),), _as("n_ubatch"), ("--ubatch-size",)),
    Flag(
        "kv_cache.unified",
        lambda p: p.kv_cache.unified,
        (says("--kv-unified", {True: ["--kv-unified"]}), says("--no-kv-unified", {False: ["--no-kv-unified"]}),
         unsaid(False)),
        _as("kv_unified"),
        ("--kv-unified",),
    ),
    Flag(
        "kv_cache.k",
        lambda p: p.kv_cache.k,
        (takes("--cache-type-k"),),
        lambda v: {"cache_type_k": v.upper()},
        ("--cache-type-k",),
    ),
    Flag(
        "kv_cache.v",
        lambda p: p.kv_cache.v,
        (takes("--cache-type-v"),),
        lambda v: {"cache_type_v": v.upper()},
        ("--cache-type-v",),
    ),
    Flag(
        "kv_cache.offload",
        lambda p: p.kv_cache.offload,
        (says("--no-kv-offload", {True: [], False: ["--no-kv-offload"]}), unsaid(True)),
        lambda v: {"no_kv_offload": not v},
        ("--no-kv-offload",),
    ),
    Flag(
        "kv_cache.reuse",
        lambda p: p.kv_cache.reuse,
        (takes("--cache-reuse"), unsaid(0)),
        _as("n_cache_reuse"),
        ("--cache-reuse",),
    ),
    Flag(
        "kv_cache.swa_full",
        lambda p: p.kv_cache.swa_full,
        (says("--swa-full", {True: ["--swa-full"], False: []}), unsaid(False)),
        _as("swa_full"),
        ("--swa-full",),
    ),
    Flag(
        "kv_cache.ram",
        lambda p: None if p.kv_cache.ram is None else p.kv_cache.ram // 2**20,
        (takes("--cache-ram"), unsaid(0)),
        _as("cache_ram_mib"),
        ("--cache-ram",),
    ),
    Flag(
        "flash_attention",
        lambda p: p.flash_attention,
        (takes("--flash-attn"), says("--flash-attn", {"on": ["--flash-attn"], "off": [], "auto": []}, bare=True)),
        lambda v: {"flash_attn_type": {"on": "ENABLED", "off": "DISABLED", "auto": "AUTO"}[v]},
        ("--flash-attn",),
    ),
    Flag(
        "gpu_layers",
        lambda p: p.gpu_layers,
        (
            takes("--n-gpu-layers", when="'all'"),
            says("--n-gpu-layers", {"all": ["--n-gpu-layers", "999"], "auto": []}),
            says("--gpu-layers", {"all": ["--gpu-layers", "999"], "auto": []}),
            takes("--n-gpu-layers", "--gpu-layers"),
            unsaid("auto", "all", 0),
        ),
        lambda v: {"n_gpu_layers": {"auto": -1, "all": -2}.get(v, v)},
        ("--n-gpu-layers",),
    ),
    Flag("devices", lambda p: p.devices, (takes("--device"),), owns=("--device",)),
    Flag(
        "tensor_split",
        lambda p: p.tensor_split,
        (takes("--tensor-split"),),
        lambda v: {"tensor_split": [*v, *[0.0] * (_SPLIT_MAX - len(v))]},
        ("--tensor-split",),
    ),
    Flag("rpc", lambda p: p.rpc, (takes("--rpc"),), owns=("--rpc",)),
    Flag("cpu_moe", lambda p: p.cpu_moe or None, (says("--cpu-moe", {True: ["--cpu-moe"]}),), owns=("--cpu-moe",)),
    Flag("n_cpu_moe", lambda p: p.n_cpu_moe, (takes("--n-cpu-moe"),), owns=("--n-cpu-moe",)),
    Flag(
        "mmap",
        lambda p: ("mmap" if p.mmap else "") + ("+" if p.mmap and p.mlock else "") + ("mlock" if p.mlock else ""),
        (
            says("--load-mode", {
                "mmap": ["--load-mode", "mmap"],
                "mlock": ["--load-mode", "mlock"],
                "mmap+mlock": ["--load-mode", "mmap+mlock"],
                "": ["--load-mode", "none"],
            }),
            says("--no-mmap", {
                "mmap": [], "mlock": ["--no-mmap", "--mlock"], "mmap+mlock": ["--mlock"], "": ["--no-mmap"]
            }),
        ),
        lambda v: {"load_mode": v.upper().replace("+", "_") or "NONE"},
        ("--load-mode", "--no-mmap", "--mlock"),
    ),
    Flag("rope.scaling", lambda p: p.rope.scaling, (takes("--rope-scaling"),),
         lambda v: {"rope_scaling_type": v.upper()}, ("--rope-scaling",)),
    Flag("rope.scale", lambda p: p.rope.scale, (takes("--rope-scale"),),
         lambda v: {"rope_freq_scale": 1.0 / v}, ("--rope-scale",)),
    Flag("rope.freq_base", lambda p: p.rope.freq_base, (takes("--rope-freq-base"),), _as("rope_freq_base"),
         ("--rope-freq-base",)),
    Flag("rope.freq_scale", lambda p: p.rope.freq_scale, (takes("--rope-freq-scale"),), _as("rope_freq_scale"),
         ("--rope-freq-scale",)),
    Flag("speculative.model", lambda p: p.speculative and p.speculative.model,
         (takes("--spec-draft-model"), takes("--model-draft")), owns=("--spec-draft-model", "--model-draft")),
    Flag("speculative.max_tokens", lambda p: p.speculative and p.speculative.max_tokens,
         (takes("--spec-draft-n-max", "--draft-max", "--draft"),)),
    Flag("speculative.min_tokens", lambda p: p.speculative and p.speculative.min_tokens,
         (takes("--spec-draft-n-min", "--draft-min"), unsaid(0))),
    Flag("speculative.min_probability", lambda p: p.speculative and p.speculative.min_probability,
         (takes("--spec-draft-p-min", "--draft-p-min"),)),
    Flag("chat_template_file", lambda p: p.chat_template_file, (takes("--chat-template-file"),),
         _as("chat_template@file"), ("--chat-template", "--chat-template-file")),
    Flag("seed", lambda p: p.seed, (takes("--seed"),), _as("sampling.seed"), ("--seed",)),
    Flag("metrics", lambda p: p.metrics, (says("--metrics", {True: ["--metrics"], False: []}), unsaid(False)),
         _as("endpoint_metrics"), ("--metrics",)),
    Flag("slots_dir", lambda p: p.slots_dir and p.slots_dir.rstrip("/") + "/", (takes("--slot-save-path"),),
         _as("slot_save_path"), ("--slot-save-path",)),
    Flag("model.alias", lambda p: p.model.alias, (takes("--alias"),), lambda v: {"model_alias": [v]},
         ("--alias",)),
    Flag("log.level", lambda p: _LEVELS[p.log.level], (takes("--verbosity", when="info"), lambda *_: []),
         _as("verbosity"), ("--verbosity",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Habit:
    """What every server gets where its engine knows it, whatever the profile says."""

    value: Any
    spellings: tuple[Render, ...]
    embed: Mapping[str, Any]


HABITS: tuple[Habit, ...] = (
    # No page for a browser, and no other page's scripts.
    Habit(True, (says("--no-ui", {True: ["--no-ui"]}), says("--no-webui", {True: ["--no-webui"]})), {"ui": False}),
    Habit("localhost", (takes("--cors-origins"),), {"cors_origins": "localhost"}),
    # A prompt that does not fit is an error, never cut in silence.
    Habit(True, (says("--no-context-shift", {True: ["--no-context-shift"]}),), {"ctx_shift": False}),
    Habit(True, (says("--jinja", {True: ["--jinja"]}),), {"use_jinja": True}),
    Habit(True, (says("--offline", {True: ["--offline"]}),), {"offline": True}),
    # The embedded engine's search for what fits would lower the context behind our back.
    Habit(True, (), {"fit_params": False, "endpoint_slots": True}),
    # Threads that spin while they wait slow down everything else on the machine.
    Habit(0, (takes("--poll"),), {"cpuparams.poll": 0, "cpuparams_batch.poll": 0}),
)

UNSAFE = frozenset(
    {
        # others could reach it, or a browser's pages
        *("--host", "--port", "--reuse-port", "--path", "--api-prefix", "--api-key", "--api-key-file"),
        *("--ssl-key-file", "--ssl-cert-file", "--cors-origins", "--cors-methods", "--cors-headers"),
        *("--cors-credentials", "--ui", "--webui", "--ui-config", "--ui-config-file", "--props", "--media-path"),
        # it runs programs, or speaks to other servers
        *("--tools", "--tools-runtime", "--agent", "--mcp-servers-config", "--mcp-servers-json"),
        *("--ui-mcp-proxy", "--webui-mcp-proxy", "--rpc", "--video-ffmpeg-dir"),
        # it fetches models, or serves others than the one that was checked
        *("--model", "--model-url", "--hf-repo", "--hf-file", "--hf-token", "--hf-repo-v", "--hf-file-v"),
        *("--hf-repo-draft", "--spec-draft-hf", "--docker-repo", "--mmproj-url"),
        *("--models-dir", "--models-preset"),
        # it writes files
        *("--log-file", "--log-disable", "--log-prompts-dir", "--slot-save-path", "--lookup-cache-dynamic"),
        *("--prompt-cache", "--prompt-cache-all"),
        # it is no server then
        *("--version", "--help", "--list-devices", "--cache-list", "--completion-bash", "--license"),
    }
)
"""Options that open the server to others, run or fetch or write things, or take over what the manager decides."""


def is_unsafe(option: Option) -> bool:
    """Whether this is one of those; `--…-default` are presets, most of which download a model."""
    words = " ".join(option.text.split())
    is_preset = "can download" in words or any(name.endswith("-default") for name in option.names)
    return is_preset or any(name in UNSAFE for name in option.names)
