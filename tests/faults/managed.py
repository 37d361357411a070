"""A managed server in this process, for scenes that look closer than a command lets them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptoss_flow.errors import FlowError
from gptoss_flow.lang.profile import Profile
from gptoss_flow.server import verbs
from gptoss_flow.server.manager import ManagedServer
from gptoss_flow.server.record import list_servers
from tests.faults.stage import Stage

REAL = {"name": "demo", "engine": "embedded", "parallel": 2, "context": 512, "threads": 1}


class PatientClock:
    """The real time; `waits` are the seconds that were slept a second or longer."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        if seconds >= 1:
            self.waits.append(seconds)
        await asyncio.sleep(seconds)


class Watched(ManagedServer):
    """A managed server that notes the states it comes to."""

    def __init__(self, profile: Profile, model: Path, state_root: Path, **more: Any) -> None:
        self.states: list[str] = []
        self.clock = PatientClock()
        super().__init__(
            profile,
            model,
            state_root=state_root,
            log_path=None,
            on_change=lambda state, *_: self.states.append(state),
            clock=self.clock,
            **more,
        )


def demo_model(stage: Stage) -> Path:
    (model,) = stage.cache.glob("gptoss-flow/models/*/*.gguf")
    return model.resolve()


def real(stage: Stage, state_root: Path, **keys: Any) -> Watched:
    """The embedded engine with the demo model."""
    return Watched(Profile.model_validate(REAL | keys), demo_model(stage), state_root)


def stand_in(folder: Path, script: dict[str, Any] | None = None, **keys: Any) -> Watched:
    """A stand-in for llama-server that behaves as `testing.replies.Script` says, with state in `folder/state`."""
    binary, model = folder / "llama-server", folder / "small.gguf"
    if not model.exists():  # a file written anew would be another model
        model.write_bytes(b"GGUF" + bytes(60))
    write_stand_in(binary, script or {})
    defaults = {
        "name": "small", "engine": "llama-server", "parallel": 2, "context": 512, "threads": 1,
        "binary": str(binary),
    }  # fmt: skip
    return Watched(Profile.model_validate(defaults | keys), model, folder / "state")


def write_stand_in(path: Path, script: dict[str, Any], before: str = "") -> None:
    """The executable file; `before` is code that runs first."""
    text = (
        f"#!{sys.executable}\nimport os, sys\n{before}\n"
        "from gptoss_flow.testing.fake_llama_server import main\n"
        "from gptoss_flow.testing.replies import read_script\n"
        f"sys.exit(main(script=read_script({json.dumps(json.dumps(script))})))\n"
    )
    if not path.exists() or path.read_text() != text:  # a new file would be a new build
        path.write_text(text)
        path.chmod(0o755)


@asynccontextmanager
async def state_folder(folder: Path) -> AsyncIterator[Path]:
    """`folder/state`; what still runs there at the end is stopped."""
    root = folder / "state"
    try:
        yield root
    finally:
        for record in list_servers(root):
            await verbs.stop_server(record)


async def refusal(server: Watched) -> str:
    """Why it does not become ready; '' if it does, which is ended then."""
    try:
        await server.ensure_ready()
    except FlowError as error:
        return str(error)
    finally:
        await server.release()
    return ""
