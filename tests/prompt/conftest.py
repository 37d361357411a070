"""The encoding, loaded once, with a cache folder of the tests' own, and a real server with the tiny gpt-oss."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_flow.ports import Endpoint
from gptoss_flow.prompt.harmony import Harmony, preload
from gptoss_flow.testing.tiny_gpt_oss import ensure_tiny_model
from tests.conftest import need
from tests.prompt.fakes import endpoint


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("HOME", str(folder))
        patch.delenv("TIKTOKEN_ENCODINGS_BASE", raising=False)
        yield folder


@pytest.fixture(scope="session")
def harmony(own_cache: Path) -> Harmony:
    return preload().result()


@pytest.fixture(scope="session")
def tiny_model(own_cache: Path) -> Path:
    return ensure_tiny_model()


@pytest.fixture(scope="session")
def tiny_endpoint(tiny_model: Path, own_cache: Path) -> Iterator[Endpoint]:
    """A real server with the tiny gpt-oss. It ends when its standard input does."""
    found = importlib.util.find_spec("xllamacpp")
    need("xllamacpp", found=found is not None)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    parameters = {
        "model.path": str(tiny_model), "n_ctx": 4096, "n_parallel": 1, "port": port,
        "hostnames": ["127.0.0.1"], "api_keys": ["k"], "ui": False, "fit_params": False,
        "cpuparams.n_threads": 1, "cpuparams_batch.n_threads": 1,
    }  # fmt: skip
    program = importlib.util.find_spec("gptoss_flow.server.embedded")
    assert program is not None and program.origin is not None
    with (own_cache / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, program.origin], stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        )
    assert child.stdin is not None
    child.stdin.write(json.dumps({"set": parameters}).encode() + b"\n")
    child.stdin.flush()
    yield endpoint(url=f"http://127.0.0.1:{port}", api_key="k", model="tiny-gpt-oss", context_tokens=4096)
    child.stdin.close()
    child.wait(timeout=10)
