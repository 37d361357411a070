"""The changes of a server's state: on record as they come, and how long its cold start took by them."""

from __future__ import annotations

import time
from contextlib import suppress

from gptoss_flow.errors import RecordError
from gptoss_flow.events import Json, ServerChanged, ServerState
from gptoss_flow.ports import Emit


class ServerNews:
    """Hears of one server of a flow, by its name there."""

    def __init__(self, server: str, emit: Emit) -> None:
        self._server = server
        self._emit = emit
        self._at: dict[ServerState, float] = {}
        self._adopted = False

    def changed(self, state: ServerState, detail: str, facts: dict[str, Json]) -> None:
        if state == "starting":
            self._at.clear()
        self._at.setdefault(state, time.perf_counter())
        if state == "ready":
            self._adopted = bool(facts.get("adopted"))
        # A record that can't be written ends the run at the loop's own next event, not in here.
        with suppress(RecordError):
            self._emit(ServerChanged(server=self._server, state=state, detail=detail, facts=facts))

    def line(self, said: str) -> None:
        """What is told before there is a process."""
        self.changed("stopped", said, {})

    def start_times(self) -> dict[str, float]:
        """`ready_s`: spawned to ready, warm-up included. `load_s`: from when it listened; absent if it never said
        that it was loading. Of a server that was running already there are none."""
        if self._adopted or "starting" not in self._at or "ready" not in self._at:
            return {}
        ready = self._at["ready"]
        load = {"load_s": ready - self._at["loading"]} if "loading" in self._at else {}
        return {**load, "ready_s": ready - self._at["starting"]}
