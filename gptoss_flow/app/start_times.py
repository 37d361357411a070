"""How long a server's cold start took, from the changes of its state as they are told."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gptoss_flow.events import Json, ServerState


class StartTimes:
    """Hears each change of a server's state. A server that was running already has had no start."""

    def __init__(self) -> None:
        self._at: dict[ServerState, float] = {}
        self._adopted = False

    def changed(self, state: ServerState, facts: Mapping[str, Json]) -> None:
        if state == "starting":
            self._at.clear()
        self._at.setdefault(state, time.perf_counter())
        if state == "ready":
            self._adopted = bool(facts.get("adopted"))

    def told(self) -> dict[str, float]:
        """`ready_s`: spawned to ready, warm-up included. `load_s`: from when it listened; absent if it never said
        that it was loading."""
        if self._adopted or "starting" not in self._at or "ready" not in self._at:
            return {}
        ready = self._at["ready"]
        load = {"load_s": ready - self._at["loading"]} if "loading" in self._at else {}
        return {**load, "ready_s": ready - self._at["starting"]}
