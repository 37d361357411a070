"""The embedded engine with a real model: what no stand-in can prove."""

import asyncio
import http.client
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.probe import ask
from gptoss_flow.server.record import list_servers
from tests.conftest import need
from tests.server.conftest import SystemClock
from tests.server.test_manager import Watched
from tests.server.world import in_loop, is_dead, until

pytestmark = pytest.mark.real
KEYS = {"name": "demo", "engine": "embedded", "parallel": 2, "context": 512, "threads": 1}
USER = """
import asyncio, http.client, json, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.manager import ManagedServer
from tests.server.conftest import SystemClock
def stream(endpoint):
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"))
    body = {{"prompt": [1, 2, 3], "n_predict": 400, "stream": True, "ignore_eos": True}}
    connection.request("POST", "/completion", json.dumps(body), {{"Authorization": "Bearer " + endpoint.api_key}})
    response = connection.getresponse()
    while response.read(100):
        print("streaming", flush=True)
async def main():
    def note(state, *more):
        print(state, flush=True)
    server = ManagedServer(Profile.model_validate({keys!r}), Path({model!r}), state_root=Path({state!r}),
                           log_path=None, on_change=note, clock=SystemClock())
    endpoint = await server.ensure_ready()
    await asyncio.to_thread(stream, endpoint)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _has_engine() -> None:
    need("xllamacpp", found=importlib.util.find_spec("xllamacpp") is not None)


@pytest.fixture
def server(demo_model: Path, state_root: Path, clock: SystemClock) -> Callable[..., Watched]:
    return lambda **keys: Watched(Profile.model_validate(KEYS | keys), demo_model, state_root, clock)


@in_loop
async def test_the_real_server_is_what_the_profile_asks_for_and_stops_with_an_open_stream(
    server: Callable[..., Watched], demo_model: Path
) -> None:
    real = server(warmup={"count": 1, "max_tokens": 1}, kv_cache={"k": "q8_0"}, mmap=False, seed=7)
    endpoint = await real.ensure_ready()
    assert real.states == ["starting", "loading", "ready"]
    assert (endpoint.slots, endpoint.context_tokens, endpoint.model_path) == (2, 512, str(demo_model))
    assert (await asyncio.to_thread(ask, endpoint.url, "/props", key="wrong")).status == 401
    connection = http.client.HTTPConnection(endpoint.url.removeprefix("http://"))
    body = {"prompt": [1, 2, 3], "n_predict": 400, "stream": True, "ignore_eos": True}
    connection.request("POST", "/completion", json.dumps(body), {"Authorization": f"Bearer {endpoint.api_key}"})
    response = connection.getresponse()
    assert response.read(6) == b"data: "
    before = asyncio.get_running_loop().time()
    await real.release()
    assert asyncio.get_running_loop().time() - before < 4
    connection.close()
    assert endpoint.pid and is_dead(endpoint.pid)


def user(demo_model: Path, state_root: Path) -> Generator[str, None, None]:
    """The lines of a process that starts the server and streams; closing this kills it with SIGKILL."""
    code = USER.format(
        root=str(Path(__file__).parents[2]), keys=KEYS, model=str(demo_model), state=str(state_root)
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            for line in process.stdout:
                yield line.strip()
        finally:
            process.kill()


@pytest.mark.parametrize("moment", ["loading", "ready", "streaming"])
def test_nothing_is_left_of_a_server_whose_user_is_killed(moment: str, demo_model: Path, state_root: Path) -> None:
    lines = user(demo_model, state_root)
    assert moment in lines
    (record,) = list_servers(state_root)
    lines.close()
    assert until(lambda: is_dead(record.pid) and is_dead(record.guardian_pid)) < 5
    assert list_servers(state_root) == []


@pytest.fixture(params=["truncated", "junk", "empty"])
def broken_model(request: pytest.FixtureRequest, demo_model: Path, tmp_path: Path) -> Path:
    contents = {"truncated": demo_model.read_bytes()[:3_000_000], "junk": b"junk" * 1000, "empty": b""}
    path = tmp_path / "broken.gguf"
    path.write_bytes(contents[request.param])
    return path


@in_loop
async def test_a_broken_model_is_called_corrupt_and_tried_once(
    broken_model: Path, state_root: Path, clock: SystemClock
) -> None:
    broken = Watched(Profile.model_validate(KEYS), broken_model, state_root, clock)
    with pytest.raises(Unavailable, match="model corrupt"):
        await broken.ensure_ready()
    assert broken.states == ["starting", "crashed"] or broken.states == ["starting", "loading", "crashed"]


def test_a_server_started_from_a_thread_that_ends_lives_on(server: Callable[..., Watched]) -> None:
    pids: list[Any] = []

    def start() -> None:
        async def stay() -> None:
            real = server(idle_timeout=-1)
            pids.append((await real.ensure_ready()).pid)
            await real.release()

        asyncio.run(stay())

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    async def attach() -> None:
        again = server()
        endpoint = await again.ensure_ready()
        assert endpoint.adopted and endpoint.pid == pids[0]
        await again.stop()

    asyncio.run(attach())
