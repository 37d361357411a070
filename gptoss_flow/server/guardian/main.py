"""A guardian's beginning: what it is to run comes from its starter, on standard input."""

from __future__ import annotations

import json
import os
import signal
import socket

from gptoss_flow.server.guardian.keeper import Connection, Guardian

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]


def read_spec(starter: socket.socket) -> Json | None:
    """The first line that the starter sends; None if it died before."""
    data = b""
    while not data.endswith(b"\n"):
        piece = starter.recv(65536)
        if not piece:
            return None
        data += piece
    spec: Json = json.loads(data)
    return spec


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    starter = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    spec = read_spec(starter)
    if spec is None:
        return
    try:
        guardian = Guardian(spec, starter)
        guardian.start()
    except OSError as error:
        # What was spawned dies with this process: PR_SET_PDEATHSIG, or the end of its standard input.
        Connection(starter).send({"say": "failed", "why": str(error)})
        return
    guardian.run()
