"""Servers behind https: an authority of one's own ($SSL_CERT_FILE), and certificates that nobody vouches for."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gptoss_flow.testing.fake_server import FakeServer
from gptoss_flow.testing.replies import Reply, Script
from tests.cli.stand import Stand
from tests.tls import make_certificates

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def serve(certificates: Path) -> Iterator[Serve]:
    """Starts a server with these facts of `Script` behind TLS, with the certificate of this name: its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    opened: list[tuple[FakeServer, asyncio.Server]] = []

    async def begin(certificate: str, facts: dict[str, Any]) -> str:
        fake = FakeServer(Script(**({"replies": [Reply(text="Hello, you.")]} | facts)))
        await fake.start()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificates / f"{certificate}.pem", certificates / f"{certificate}.key")

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner = await asyncio.open_connection(fake.host, fake.port)
            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

        server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
        opened.append((fake, server))
        return f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def end() -> None:
        for fake, server in opened:
            server.close()
            await fake.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    yield lambda certificate, **facts: asyncio.run_coroutine_threadsafe(begin(certificate, facts), loop).result(10)
    asyncio.run_coroutine_threadsafe(end(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


FLOW = "version: 1\nservers: {main: other}\nsteps: {a: {prompt: {user: Hi}}}\n"
COMMANDS = (["run", "flow.yaml"], ["infer", "--profile", "other", "Hi"], ["query", "--profile", "other", "Hi"],
            ["profile", "check", "other"])  # fmt: skip


def profile(stand: Stand, url: str, api: str = "") -> None:
    stand.write("profiles/other.yaml", f"url: {url}\n" + (f"api: {api}\n" if api else ""))
    stand.write("flow.yaml", FLOW)


@pytest.mark.parametrize("api", ["", "chat_completions", "responses"])
def test_a_server_whose_authority_is_trusted_is_asked_by_every_command(
    stand: Stand, serve: Serve, certificates: Path, api: str
) -> None:
    facts: dict[str, Any] = {"only_openai": True, "models": ["m"]} if api else {}
    profile(stand, serve("good", **facts) + ("/v1" if api else ""), api)
    stand.environ["SSL_CERT_FILE"] = str(certificates / "ca.pem")
    for command in COMMANDS[2:] if api else COMMANDS:
        done = stand.run(*command)
        assert done.code == 0, (command, done.err)
        assert command[0] == "profile" or done.out.startswith("Hello, y")
    if not api:
        url = (stand.folder / "profiles/other.yaml").read_text().split()[1]
        assert stand.run("query", "--url", url, "Hi").out.startswith("Hello, y")


@pytest.mark.parametrize(
    ("certificate", "trusted", "said"),
    [("good", False, "unable to get local issuer certificate"), ("other", True, "127.0.0.1")],
)
def test_a_certificate_that_nobody_vouches_for_is_refused_in_words(
    stand: Stand, serve: Serve, certificates: Path, certificate: str, trusted: bool, said: str
) -> None:
    url = serve(certificate)
    profile(stand, url)
    if trusted:
        stand.environ["SSL_CERT_FILE"] = str(certificates / "ca.pem")
    else:
        stand.environ.pop("SSL_CERT_FILE", None)
    for command in (COMMANDS[0], ["query", "--url", url, "Hi"]):
        done = stand.run(*command)
        told = done.out + done.err
        assert done.code == 3, (command, told)
        assert f"the certificate of {url} is not trusted: " in told and said in told, (command, told)
        assert "name its authority's file in $SSL_CERT_FILE" in told
