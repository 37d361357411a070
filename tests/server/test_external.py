import asyncio
from typing import Any

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.probe import free_port
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Script
from tests.server.world import in_loop


def external(url: str, environ: dict[str, str] | None = None, **keys: Any) -> ExternalServer:
    profile = Profile.model_validate({"engine": "external", "url": url} | keys)
    return ExternalServer(profile, on_change=lambda *change: None, environ=environ or {})


@in_loop
async def test_a_server_that_fits_is_used_and_left_alone() -> None:
    async with FakeServer(Script(slots=3, context_tokens=800)) as fake:
        server = external(fake.url, parallel=3, context=800)
        endpoint = await server.ensure_ready()
        assert (endpoint.engine, endpoint.slots, endpoint.context_tokens) == ("external", 3, 800)
        assert endpoint.adopted and endpoint.pid is None
        await server.release()
        assert server.state == "stopped"
        assert (await external(fake.url).ensure_ready()).slots == 3


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"parallel": 4}, "parallel: it has 3 slots, not 4"),
        ({"context": 801}, "context: it has 800 tokens"),
        ({"model": {"id": "other"}}, "model.id: it has .*fake"),
    ],
)
@in_loop
async def test_a_server_that_differs_is_refused_with_the_key(keys: dict[str, Any], said: str) -> None:
    async with FakeServer(Script(slots=3, context_tokens=800, model_path="/models/fake.gguf")) as fake:
        server = external(fake.url, **keys)
        with pytest.raises(Unavailable, match=said):
            await server.ensure_ready()
        assert server.state == "crashed"
        await server.release()


@in_loop
async def test_a_key_is_taken_from_the_environment_and_a_wrong_one_is_said() -> None:
    async with FakeServer(Script(api_key="right")) as fake:
        given = {"api_key": "env:MY_KEY"}
        endpoint = await external(fake.url, {"MY_KEY": "right"}, **given).ensure_ready()
        assert endpoint.api_key == "right"
        with pytest.raises(Unavailable, match="does not accept the key"):
            await external(fake.url, {"MY_KEY": "wrong"}, **given).ensure_ready()
        with pytest.raises(Unavailable, match="MY_KEY, which is not set"):
            await external(fake.url, **given).ensure_ready()


@in_loop
async def test_nobody_there_is_said_with_the_address() -> None:
    url = f"http://127.0.0.1:{await asyncio.to_thread(free_port, '127.0.0.1')}"
    with pytest.raises(Unavailable, match=f"no server answers at {url}"):
        await external(url).ensure_ready()
