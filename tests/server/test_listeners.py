"""A port that two processes listen on: only one of them was proved, and the system deals connections to both."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from gptoss_flow.errors import Unavailable
from gptoss_flow.server import listeners
from gptoss_flow.server.hold import hold
from gptoss_flow.server.listeners import require_alone
from gptoss_flow.server.probe import free_port
from gptoss_flow.server.record import list_servers
from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Script
from tests.server.test_manager import Watched
from tests.server.test_manager import server as server
from tests.server.world import in_loop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who listens")

Make = Callable[..., Watched]


@contextmanager
def listener(host: str, port: int = 0) -> Iterator[int]:
    """A socket of this process that listens and would share its port; the port."""
    with closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen()
        yield sock.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_process_alone_on_its_port_is_no_stranger_to_itself(host: str) -> None:
    with listener(host) as port, listener(host, port):
        require_alone(host, port, os.getpid())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_stranger_is_named(host: str) -> None:
    with (
        listener(host) as port,
        pytest.raises(Unavailable, match=rf"port {port} is shared by process {os.getpid()} \(\S+\), "),
    ):
        require_alone(host, port, 1)


def test_any_address_gives_way_to_the_very_one_and_stands_in_for_it_where_there_is_none() -> None:
    with listener("0.0.0.0") as port, pytest.raises(Unavailable):
        require_alone("127.0.0.1", port, 1)
    with listener("127.0.0.2") as port:
        require_alone("127.0.0.1", port, 1)


def test_a_stranger_that_no_process_shows_is_told_of_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listeners, "_sockets_of", lambda pid: {"socket:[1]"} if pid == 1 else set())
    monkeypatch.setattr(listeners, "_listening", lambda host, port: {"socket:[1]", "socket:[2]"})
    with pytest.raises(Unavailable, match="a process that we cannot see"):
        require_alone("127.0.0.1", 9, 1)


def test_where_nobody_listens_nobody_is_a_stranger() -> None:
    require_alone("127.0.0.1", free_port("127.0.0.1"), os.getpid())


@in_loop
async def test_a_stranger_that_came_after_the_proof_gets_no_request(server: Make) -> None:
    port = free_port("127.0.0.1")
    small = server({"reuse_port": True}, listen={"port": port}, idle_timeout=-1)
    first = await small.ensure_ready()
    assert await small.ensure_ready() is first
    stranger = FakeServer(Script(reuse_port=True), port=port)
    await stranger.start()
    said = rf"port {port} is shared by process {os.getpid()} "
    with pytest.raises(Unavailable, match=said):
        await small.ensure_ready()
    with pytest.raises(Unavailable, match=said), hold(list_servers(small._starter.state_root)[0]):
        pass
    other = server({"reuse_port": True}, listen={"port": port})
    with pytest.raises(Unavailable, match=said):
        await other.ensure_ready()
    assert other.said[-1][0] == "crashed"
    await stranger.close()
    assert await small.ensure_ready() is first
    await small.stop()


@in_loop
async def test_a_stranger_that_was_there_before_is_no_way_round_the_proof(server: Make) -> None:
    port = free_port("127.0.0.1")
    twin = FakeServer(Script(reuse_port=True), port=port)
    small = server({"reuse_port": True, "load_s": 0.2}, listen={"port": port})
    starting = asyncio.create_task(small.ensure_ready())
    await small.loading.wait()
    await twin.start()
    with pytest.raises(Unavailable):
        await starting
    await twin.close()
    await small.release()
