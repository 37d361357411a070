"""Tool servers at an address: a real one on loopback, and what such a one may not do."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.errors import StepError, Unavailable
from gptoss_flow.tools.mcp.listing import Listing
from gptoss_flow.tools.mcp.server import McpServer
from gptoss_flow.tools.mcp.settings import ServerSettings
from tests.tls import make_certificates

SERVER = Path(__file__).parent / "http_server.py"


@contextmanager
def served(*files: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, SERVER, *files], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with served() as address:
        yield address


def listed(url: str, **headers: str) -> Listing:
    async def start() -> Listing:
        server = McpServer(ServerSettings(name="real", url=url, headers=headers, timeout_s=20), os.environ)
        try:
            return await server.start()
        finally:
            await server.aclose()

    return asyncio.run(start())


def called(url: str, tool: str, **arguments: Any) -> Any:
    async def call() -> Any:
        server = McpServer(ServerSettings(name="real", url=url, timeout_s=20), os.environ)
        try:
            return await server.call(tool, arguments)
        finally:
            await server.aclose()

    return asyncio.run(call())


def test_a_server_is_asked_and_answers(address: str) -> None:
    assert list(listed(f"{address}/mcp").tools) == ["double", "fail"]
    assert called(f"{address}/mcp", "double", number=4) == {"result": 8}
    with pytest.raises(StepError, match=r'^tool "real.fail": Error executing tool fail$'):
        called(f"{address}/mcp", "fail")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("moved", "Redirect to http://127.0.0.2:9/mcp not followed"),
        ("large", "it sends more than 4 MiB"),
        ("packed", "it sends a compressed answer, which was not asked for"),
        ("nothing", r"\(HTTP 404\)"),
        ("closed", r"\(HTTP 401\)"),
    ],
)
def test_what_such_a_server_may_not_do_is_told(address: str, path: str, said: str) -> None:
    with pytest.raises(Unavailable, match=f"^the tool server real: .*{said}"):
        listed(f"{address}/{path}")


def test_headers_are_sent(address: str) -> None:
    with pytest.raises(Unavailable, match=r"\(HTTP 418\)"):
        listed(f"{address}/closed", authorization="Bearer open")


def test_one_that_is_not_there_is_told_with_its_address() -> None:
    with pytest.raises(Unavailable, match=r"^the tool server real: http://127.0.0.1:1/mcp: All connection"):
        listed("http://127.0.0.1:1/mcp")


def test_proxies_of_the_environment_are_not_used(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    assert called(f"{address}/mcp", "double", number=1) == {"result": 2}


def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path)
    with served(made / "good.pem", made / "good.key") as address:
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(Unavailable, match="certificate verify failed"):
            listed(f"{address}/mcp")
        monkeypatch.setenv("SSL_CERT_FILE", str(made / "ca.pem"))
        assert called(f"{address}/mcp", "double", number=4) == {"result": 8}
