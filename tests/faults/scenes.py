"""All scenes by name, those that take least first."""

from __future__ import annotations

from tests.faults import (
    browsing,
    client,
    crashes,
    flows,
    identity,
    patches,
    prompts,
    record_scenes,
    records,
    sandboxed,
    start_stop,
    terminal,
)
from tests.faults.stage import Scene

SCENES: dict[str, Scene] = {
    name: scene
    for room in (
        records,
        record_scenes,
        flows,
        patches,
        browsing,
        sandboxed,
        terminal,
        start_stop,
        identity,
        crashes,
        client,
        prompts,
    )
    for name, scene in room.SCENES.items()
}
