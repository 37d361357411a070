"""A stand-in for the `llama-server` binary: its command line, `--help`, `--version`, log and exit codes.

An executable script that calls `main(script=…)`, or `python -m gptoss_flow.testing.fake_llama_server --replies
FILE "$@"`, serves as the binary of a profile. The model is not loaded, but must exist and begin with `GGUF`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from gptoss_flow.testing.fake_server import FakeServer, serve
from gptoss_flow.testing.replies import Script, read_script

VERSION = "version: 7000 (fa4e0000)\nbuilt with cc (Fake) 1.0.0 for x86_64-linux-gnu\n"

_FLAGS: tuple[tuple[str, str, str], ...] = (
    ("-h, --help, --usage", "", "print usage and exit"),
    ("--version", "", "show version and build info"),
    ("-t, --threads", "N", "number of CPU threads to use during generation (default: -1)"),
    ("-tb, --threads-batch", "N", "number of threads to use during batch and prompt processing"),
    ("--poll", "<0...100>", "use polling level to wait for work (0 - no polling, default: 50)"),
    ("-c, --ctx-size", "N", "size of the prompt context (default: 0, 0 = loaded from model)"),
    ("-n, --predict, --n-predict", "N", "number of tokens to predict (default: -1, -1 = infinity)"),
    ("-b, --batch-size", "N", "logical maximum batch size (default: 2048)"),
    ("-ub, --ubatch-size", "N", "physical maximum batch size (default: 512)"),
    ("--swa-full", "", "use full-size SWA cache (default: false)"),
    ("-fa, --flash-attn", "[on|off|auto]", "set Flash Attention use ('on', 'off', or 'auto', default: 'auto')"),
    ("--rope-scaling", "{none,linear,yarn}", "RoPE frequency scaling method"),
    ("--rope-scale", "N", "RoPE context scaling factor"),
    ("--rope-freq-base", "N", "RoPE base frequency"),
    ("--rope-freq-scale", "N", "RoPE frequency scaling factor"),
    ("-kvo, --kv-offload, -nkvo, --no-kv-offload", "", "whether to enable KV cache offloading"),
    ("-ctk, --cache-type-k", "TYPE", "KV cache data type for K"),
    ("-ctv, --cache-type-v", "TYPE", "KV cache data type for V"),
    ("-np, --parallel", "N", "number of server slots (default: -1, -1 = auto)"),
    ("--rpc", "SERVERS", "comma separated list of RPC servers (host:port)"),
    ("--load-mode", "{none,mmap,mlock,mmap+mlock}", "how the model is loaded"),
    ("-dev, --device", "<dev1,dev2,..>", "comma-separated list of devices to use for offloading"),
    ("-cmoe, --cpu-moe", "", "keep all Mixture of Experts (MoE) weights in the CPU"),
    ("-ncmoe, --n-cpu-moe", "N", "keep the MoE weights of the first N layers in the CPU"),
    ("-ngl, --gpu-layers, --n-gpu-layers", "N", "max. number of layers to store in VRAM, 'auto', or 'all'"),
    ("-ts, --tensor-split", "N0,N1,N2,...", "fraction of the model to offload to each GPU"),
    ("-fit, --fit", "[on|off]", "whether to adjust unset arguments to fit in device memory"),
    ("--lora", "FNAME", "path to LoRA adapter"),
    ("--lora-scaled", "FNAME:SCALE,...", "path to LoRA adapter with user defined scaling"),
    ("-m, --model", "FNAME", "model path to load"),
    ("-a, --alias", "STRING", "set alias for model name"),
    ("--log-disable", "", "log disable"),
    ("--log-file", "FNAME", "log to file"),
    ("-lv, --verbosity, --log-verbosity", "N", "set the verbosity threshold"),
    ("--offline", "", "offline mode: forces use of cache, prevents network access"),
    ("-s, --seed", "SEED", "RNG seed (default: -1, use random seed for -1)"),
    (
        "-kvu, --kv-unified, -no-kvu, --no-kv-unified",
        "",
        "use single unified KV buffer shared across all sequences",
    ),
    ("-cram, --cache-ram", "N", "set the maximum cache size in MiB (default: 8192, -1 - no limit, 0 - disable)"),
    ("--cache-reuse", "N", "min chunk size to attempt reusing from the cache via KV shifting (default: 0)"),
    ("--warmup, --no-warmup", "", "whether to perform warmup with an empty run (default: enabled)"),
    ("--host", "HOST", "ip address to listen (default: 127.0.0.1)"),
    ("--port", "PORT", "port to listen (default: 8080)"),
    ("--cors-origins", "ORIGINS", "allowed CORS origins (default: *)"),
    ("--ui, --no-ui", "", "whether to enable the Web UI (default: enabled)"),
    ("--api-key", "KEY", "API key to use for authentication, multiple keys can be provided"),
    ("--api-key-file", "FNAME", "path to file containing API keys"),
    ("--metrics", "", "enable prometheus compatible metrics endpoint"),
    ("--slots, --no-slots", "", "expose slots monitoring endpoint (default: enabled)"),
    ("--slot-save-path", "PATH", "path to save slot kv cache (default: disabled)"),
    ("--jinja, --no-jinja", "", "whether to use jinja template engine for chat (default: enabled)"),
    ("--chat-template-file", "JINJA_TEMPLATE_FILE", "set custom jinja chat template file"),
    ("-md, --model-draft", "FNAME", "draft model for speculative decoding"),
)
"""Spellings, value, text: the dialect of late 2026."""
_TAKES_VALUE = {name.strip(): bool(value) for names, value, _ in _FLAGS for name in names.split(",")}
_SHORT_OF = {name.strip(): names.split(",")[0].strip() for names, _, _ in _FLAGS for name in names.split(",")}


def help_text() -> str:
    lines = ["----- common params -----", ""]
    for names, value, text in _FLAGS:
        short, _, rest = names.partition(", ")
        left = f"{short + ',':<7}{rest}" if rest and not short.startswith("--") else names
        left = f"{left} {value}".rstrip()
        lines.append(f"{left:<39} {text}" if len(left) < 40 else f"{left}\n{'':<40}{text}")
    return "\n".join(lines) + "\n"


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse(argv: list[str]) -> dict[str, str]:
    """By each flag's first spelling its value or, where it has none, the word itself. Raises `ValueError`."""
    given: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        if word not in _TAKES_VALUE:
            raise ValueError(f"error: invalid argument: {word}")
        value = word
        if _TAKES_VALUE[word]:
            following = next(words, None)
            if following is None:
                raise ValueError(f'error while handling argument "{word}": expected value for argument')
            value = following
        given[_SHORT_OF[word]] = value
    return given


def main(argv: list[str] | None = None, script: Script | None = None) -> int:
    """Run as `llama-server` would; `--replies FILE` in front gives the script where the caller does not."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["--replies"]:
        script, argv = read_script(Path(argv[1]).read_text(encoding="utf-8")), argv[2:]
    script = script or Script()
    try:
        given = parse(argv)
    except ValueError as error:
        log(str(error))
        return 1
    if "-h" in given:
        print(help_text(), end="")
        return 0
    if "--version" in given:
        print(VERSION, end="", file=sys.stderr)
        return 0
    log(f"build: {VERSION.splitlines()[0].removeprefix('version: ')} with fake")
    model = Path(given.get("-m", ""))
    slots = max(1, int(given.get("-np", "-1")) if int(given.get("-np", "-1")) > 0 else 4)
    total = int(given.get("-c", "0")) or 4096
    keys = [key for key in (given.get("--api-key"), os.environ.get("LLAMA_API_KEY")) if key]
    script = replace(
        script,
        slots=slots,
        context_tokens=total if given.get("-kvu") in ("-kvu", "--kv-unified") else total // slots,
        api_key=keys[0] if keys else script.api_key,
        model_path=str(model),
        build="b7000-fa4e0000",
    )
    server = FakeServer(
        script, host=given.get("--host", "127.0.0.1"), port=int(given.get("--port", "8080")) % 65536
    )
    # As in the original, the port is taken before the model is looked at.
    return asyncio.run(_run(server, model))


async def _run(server: FakeServer, model: Path) -> int:
    def load() -> bool:
        if server.script.fail_load:
            log(server.script.fail_load)
            return False
        try:
            with model.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            log(f"gguf_init_from_file: failed to open GGUF file '{model}' ({error.strerror})")
        else:
            if magic == b"GGUF":
                return True
            log(f"gguf_init_from_file_ptr: invalid magic characters: '{magic.decode('latin-1')}', expected 'GGUF'")
        log("llama_model_load: error loading model: llama_model_loader: failed to load model")
        log(f"srv    load_model: failed to load model, '{model}'")
        log("srv  llama_server: exiting due to model loading error")
        return False

    try:
        await server.start()
    except OSError:
        log(f"start: couldn't bind HTTP server socket, hostname: {server.host}, port: {server.port}")
        return 1
    if not load():
        await server.close()
        return 1
    return await serve(server, log)


if __name__ == "__main__":
    sys.exit(main())
