"""The few HTTP questions that tell a server's health and identity; always direct, small and short."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from gptoss_flow.events import Json

BODY_MAX = 4 << 20
ASK_TIMEOUT_S = 5.0
REACH_S = 1.0
"""How long a connection within this machine may take, which the kernel makes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered: `body` is the parsed JSON, or None where it was none."""

    status: int
    body: Json


class NoReply(Exception):
    """Nobody listens, or what listens did not speak HTTP in time."""


class Untrusted(NoReply):
    """Nobody that this machine trusts vouches for the server's certificate."""


def ask(
    url: str,
    path: str,
    *,
    key: str | None = None,
    body: Mapping[str, Json] | None = None,
    timeout_s: float | None = None,
) -> Reply:
    """GET (or POST of a JSON body) at `url` + `path`. Blocking; no redirects, no proxy. Raises `NoReply`."""
    timeout_s = ASK_TIMEOUT_S if timeout_s is None else timeout_s
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
        if parts.scheme == "https"
        else http.client.HTTPConnection(host, port, timeout=timeout_s)
    )
    headers = {"Connection": "close"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    with contextlib.closing(connection):
        try:
            connection.request("POST" if payload else "GET", parts.path + path, payload, headers)
            response = connection.getresponse()
            data = response.read(BODY_MAX)
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(error.verify_message.rstrip(".")) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoReply(getattr(error, "strerror", None) or str(error) or type(error).__name__) from None
    try:
        return Reply(response.status, json.loads(data))
    except ValueError:
        return Reply(response.status, None)


def is_listening(host: str, port: int, timeout_s: float = 0.5) -> bool:
    """Whether anything accepts connections there."""
    try:
        socket.create_connection((host, port), timeout_s).close()
    except OSError:
        return False
    return True


def reach(host: str) -> None:
    """Connect to a socket of our own. Raises `OSError` where what listens at `host` is out of reach from here."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        sock.listen(1)
        socket.create_connection(sock.getsockname()[:2], REACH_S).close()


def free_port(host: str, wanted: int = 0) -> int:
    """A port that was free a moment ago; whoever uses it must expect that it no longer is.

    Raises `OSError` where `host` is no address of this machine, or `wanted` is taken or not allowed to this user.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        if wanted:  # a connection that has just ended does not keep a server from it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, wanted))
        port: int = sock.getsockname()[1]
        return port
