"""Being a user of a running server without an event loop, for a command that has no time to import one."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

from gptoss_flow.server.listeners import require_alone
from gptoss_flow.server.record import ServerRecord, untrue

ANSWER_S = 5.0
LINE_MAX = 1 << 20


@contextlib.contextmanager
def hold(record: ServerRecord) -> Iterator[bool]:
    """Keep the recorded server from stopping, and say whether it is there: proved by its guardian, and ready.

    Raises `Unavailable` where another process shares its port.
    """
    with contextlib.ExitStack() as stack:
        # Where the file ends the connection is closed, which is all that the guardian needs to know.
        is_there = not untrue(record) and _is_ready(record, stack)
        if is_there:
            require_alone(record.host, record.port, record.pid)
        yield is_there


def _is_ready(record: ServerRecord, stack: contextlib.ExitStack) -> bool:
    try:
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.settimeout(ANSWER_S)
        sock.connect(record.socket)
        # Its own idle timeout, being longer, stays. A request is about to come: nothing is to touch it now.
        sock.sendall(b'{"op": "hold", "idle_timeout_s": 0}\n{"op": "pause"}\n')
        with sock.makefile("rb") as lines:
            kept = json.loads(lines.readline(LINE_MAX))
    except (OSError, ValueError):
        return False
    return bool(kept.get("nonce") == record.nonce and kept.get("state") == "ready")
