"""A profile written for last year's flags, run by this year's binary and by the embedded engine: the same server.

The binary's half runs where GPTOSS_FLOW_NATIVE=1 is set, after `python -m tests.native.build`.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.util
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from gptoss_flow.errors import Invalid
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Endpoint
from gptoss_flow.server.causes import classify
from gptoss_flow.server.command import compile_command
from gptoss_flow.server.engines import Engine, llama_server
from gptoss_flow.server.fit import shares
from gptoss_flow.server.probe import ask
from tests.conftest import need
from tests.native.build import built
from tests.server.conftest import SystemClock
from tests.server.test_flags import known
from tests.server.test_manager import Watched
from tests.server.world import in_loop

pytestmark = pytest.mark.real
LAST_YEAR: dict[str, Any] = {
    "name": "team", "parallel": 2, "context": 512, "batch": 256, "ubatch": 128, "threads": 1, "gpu_layers": 0,
    "flash_attention": "on", "kv_cache": {"k": "q8_0", "v": "q8_0", "unified": False, "reuse": 64}, "mmap": False,
    "seed": 7, "metrics": True, "model": {"alias": "ours"},
}  # fmt: skip
SECRETS = {"AWS_SECRET_ACCESS_KEY": "x", "HF_TOKEN": "x", "LLAMA_ARG_TOOLS": "all", "OMP_WAIT_POLICY": "PASSIVE"}

Start = Callable[..., Watched]


def native() -> Path:
    if not os.environ.get("GPTOSS_FLOW_NATIVE"):
        pytest.skip("GPTOSS_FLOW_NATIVE is not set")
    binary = built()
    need("a llama-server built by tests.native.build", found=binary is not None)
    assert binary is not None
    return binary


@pytest.fixture(params=["embedded", "llama-server"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keys that choose it."""
    if request.param == "embedded":
        need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
        return {"engine": "embedded"}
    return {"engine": "llama-server", "binary": str(native())}


@pytest.fixture
def start(demo_model: Path, state_root: Path, clock: SystemClock) -> Start:
    return lambda **keys: Watched(Profile.model_validate(LAST_YEAR | keys), demo_model, state_root, clock)


def settings(endpoint: Endpoint) -> dict[str, Json]:
    """What the server says that it does."""
    props = ask(endpoint.url, "/props", key=endpoint.api_key).body
    slots = ask(endpoint.url, "/slots", key=endpoint.api_key).body
    defaults = props["default_generation_settings"]
    return {
        "alias": props["model_alias"],
        "model": Path(props["model_path"]).name,
        "slots": props["total_slots"],
        "contexts": [slot["n_ctx"] for slot in slots],
        "context": defaults["n_ctx"],
        "seed": defaults["params"]["seed"],
        "metrics": ask(endpoint.url, "/metrics", key=endpoint.api_key).status,
    }


EXPECTED = {"alias": "ours", "slots": 2, "contexts": [512, 512], "context": 512, "seed": 7}


def test_the_profile_is_of_last_year() -> None:
    engine = Engine("llama-server", ("llama-server",), "b6200", "", known("2025-08"))
    profile = Profile.model_validate(LAST_YEAR)
    argv = compile_command(profile, Path("m"), engine, port=1, key=None, threads=1, environ={}).argv
    assert "--no-mmap" in argv and argv[argv.index("--flash-attn") + 1].startswith("--")


@in_loop
async def test_it_starts_with_the_same_settings(engine: dict[str, Any], start: Start, demo_model: Path) -> None:
    server = start(**engine)
    endpoint = await server.ensure_ready()
    found = await asyncio.to_thread(settings, endpoint)
    assert EXPECTED.items() <= found.items()
    assert found["model"] == demo_model.name
    body = {"prompt": [504, 3575, 282], "n_predict": 4, "stream": True, "temperature": 0}
    reply = await asyncio.to_thread(ask, endpoint.url, "/completion", key=endpoint.api_key, body=body)
    assert reply.status == 200
    await server.release()
    assert server.states[-1] == "stopped"


ITS_OWN = {"build_info", "media_marker"}
"""What of `/props` no two starts have in common."""


@in_loop
async def test_both_engines_say_the_same_of_themselves(start: Start) -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)
    said = []
    for keys in ({"engine": "embedded"}, {"engine": "llama-server", "binary": str(native())}):
        server = start(**keys)
        endpoint = await server.ensure_ready()
        props, slots = [
            (await asyncio.to_thread(ask, endpoint.url, path, key=endpoint.api_key)).body
            for path in ("/props", "/slots")
        ]
        said.append(({name: value for name, value in props.items() if name not in ITS_OWN}, slots))
        await server.release()
    assert len(said[0][0]) > 5 and len(said[0][1]) == 2
    assert said[0] == said[1]


@in_loop
async def test_it_is_closed_to_others_and_sees_no_secret(
    engine: dict[str, Any], start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    server = start(**engine)
    endpoint = await server.ensure_ready()
    assert endpoint.pid is not None
    process = psutil.Process(endpoint.pid)
    listening = {c.laddr.ip for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    assert set(process.environ()) & set(SECRETS) == {"OMP_WAIT_POLICY"}
    assert endpoint.api_key not in " ".join(process.cmdline())
    assert (await asyncio.to_thread(ask, endpoint.url, "/v1/models", key="guess")).body is not None
    assert (await asyncio.to_thread(ask, endpoint.url, "/props")).status == 401
    assert await asyncio.to_thread(_allowed_origin, endpoint) not in ("*", "https://evil.example")
    await server.release()


def _allowed_origin(endpoint: Endpoint) -> str | None:
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"))
    connection.request("GET", "/health", headers={"Origin": "https://evil.example"})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response.getheader("Access-Control-Allow-Origin")


def test_the_real_help_is_read_whole(tmp_path: Path) -> None:
    engine = llama_server(native(), tmp_path, os.environ)
    assert engine.help is not None and engine.help.options.keys() == known("2026-10").options.keys()
    assert "11434" in engine.build
    profile = Profile.model_validate({"extra_args": ["--tools", "all"]})
    with pytest.raises(Invalid, match="--tools opens the server"):
        compile_command(profile, Path("m"), engine, port=1, key=None, threads=1, environ={})


def test_the_real_figures_of_memory_are_near_our_estimate(demo_model: Path, tmp_path: Path) -> None:
    environ = {"LLAMA_SERVER": str(native())}
    (host,) = shares(Profile.model_validate(LAST_YEAR), demo_model, environ, tmp_path)
    assert host.device == "Host" and 80 < host.weights_bytes / 2**20 < 110 and host.kv_bytes > 0


BAD_FILES: dict[str, Callable[[Path, Path], object]] = {
    "missing": lambda path, good: None,
    "empty": lambda path, good: path.touch(),
    "junk": lambda path, good: path.write_bytes(bytes(range(256)) * 40),
    "truncated": lambda path, good: path.write_bytes(good.read_bytes()[:3_000_000]),
    "folder": lambda path, good: path.mkdir(),
    "text": lambda path, good: path.write_text("GGUF, I am"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_what_the_real_binary_says_of_a_bad_model_file_is_understood(
    name: str, demo_model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.gguf"
    BAD_FILES[name](path, demo_model)
    engine = llama_server(native(), tmp_path / "state", os.environ)
    profile = Profile.model_validate(LAST_YEAR)
    command = compile_command(profile, path, engine, port=0, key="k", threads=1, environ=os.environ)
    done = subprocess.run(command.argv, env=command.env, capture_output=True, text=True, timeout=60, check=False)
    cause = classify(done.returncode, done.stderr + done.stdout)
    assert cause.name == ("model missing" if name == "missing" else "model corrupt"), done.stderr
    assert cause.permanent


@pytest.mark.parametrize("megabytes", [150, 300])
def test_a_limit_on_memory_is_understood_as_one(megabytes: int, demo_model: Path, tmp_path: Path) -> None:
    engine = llama_server(native(), tmp_path / "state", os.environ)
    profile = Profile.model_validate(LAST_YEAR | {"context": 8192, "parallel": 4})
    command = compile_command(profile, demo_model, engine, port=0, key="k", threads=1, environ=os.environ)
    limited = ["prlimit", f"--as={megabytes * 2**20}", *command.argv]
    need("prlimit")
    done = subprocess.run(limited, env=command.env, capture_output=True, text=True, timeout=60, check=False)
    assert classify(done.returncode, done.stderr + done.stdout).name == "out of memory", done.stderr
