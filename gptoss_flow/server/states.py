"""The states of a managed server and what moves it from one to the next, as a table."""

from __future__ import annotations

from typing import Literal

from gptoss_flow.events import ServerState

Signal = Literal["start", "found", "listening", "healthy", "died", "stop", "left", "gone"]
"""start: we start it · found: another process starts it · listening: HTTP answers 503 · healthy: 200 and proved
to be ours, just started or found running · died: it ended unasked, or never came · stop: it is about to end ·
left: it stays, we are no longer among its users · gone: proved to be no more."""


TABLE: dict[tuple[ServerState, Signal], ServerState] = {
    ("stopped", "start"): "starting",
    ("crashed", "start"): "starting",
    ("stopped", "found"): "loading",
    ("crashed", "found"): "loading",
    ("stopped", "healthy"): "ready",
    ("crashed", "healthy"): "ready",
    ("starting", "listening"): "loading",
    ("starting", "healthy"): "ready",
    ("loading", "healthy"): "ready",
    ("stopped", "died"): "crashed",
    ("crashed", "died"): "crashed",
    ("starting", "died"): "crashed",
    ("loading", "died"): "crashed",
    ("ready", "died"): "crashed",
    ("starting", "stop"): "stopping",
    ("loading", "stop"): "stopping",
    ("ready", "stop"): "stopping",
    ("crashed", "stop"): "stopped",
    ("starting", "left"): "stopped",
    ("loading", "left"): "stopped",
    ("ready", "left"): "stopped",
    ("stopping", "left"): "stopped",
    ("stopping", "gone"): "stopped",
}


RUNNING: frozenset[ServerState] = frozenset({"starting", "loading", "ready"})
"""The states of a server that can be stopped or left."""


def after(state: ServerState, signal: Signal) -> ServerState:
    """The state that `signal` leads to. Raises `ValueError` for a pair that the table does not have."""
    try:
        return TABLE[state, signal]
    except KeyError:
        raise ValueError(f"a server that is {state} cannot take the signal {signal!r}") from None


def drawing() -> str:
    """The table as text, one transition a line."""
    return "\n".join(f"{state:>8} --{signal:-<10}> {result}" for (state, signal), result in TABLE.items())
