"""Tools: what they are, what they may touch, what they keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from gptoss_flow.events import Json
from gptoss_flow.tool_marks import Effect

SandboxName = Literal["auto", "bwrap", "sandbox-exec", "docker", "podman", "dangerously_none"]
"""What tool code runs in; `auto`: bubblewrap on Linux, sandbox-exec on macOS."""

K = TypeVar("K")


class Kept:
    """What tools keep between calls (an interpreter, opened pages, panes), by a key of their own.

    Whoever owns it closes it: what was kept and has an async `aclose` is closed, the last kept first.
    """

    def __init__(self) -> None:
        self._things: dict[str, Any] = {}

    def get(self, key: str, make: Callable[[], K]) -> K:
        """The thing under this key, made now if there is none."""
        if key not in self._things:
            self._things[key] = make()
        return self._things[key]  # type: ignore[no-any-return]

    def drop(self, key: str) -> None:
        """Forget a thing, which the caller has closed."""
        self._things.pop(key, None)

    async def aclose(self) -> None:
        """Safe to call twice. Every thing is closed, whatever the closing of others raises."""
        while self._things:
            _, thing = self._things.popitem()
            if (close := getattr(thing, "aclose", None)) is not None:
                with suppress(Exception):
                    await close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """What the flow grants to tools beyond the workspace; the model may propose, never grant."""

    hosts: tuple[str, ...] = ()
    """Hosts that `http` may ask: `example.org`, `*.example.org`; private ones as a literal address with its
    port, `127.0.0.1:8080`. Where there are some, `browser` opens no others."""
    within: tuple[tuple[str, ...], ...] = ()
    """Of each flow around this one that grants hosts: what it grants. Nothing beyond any of these is opened."""
    network: bool = False
    """Whether tool code in the sandbox may use the network."""
    sandbox: SandboxName = "auto"
    sandboxed: bool = False
    """The step says `sandbox` itself: then the user's own functions run in it too."""
    unsandboxed: bool = False
    """The user's own word (`--allow-unsandboxed`), without which `dangerously_none` is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """What a tool may touch. `readable` are folders that the user gave through an input of type path."""

    workspace: Path
    readable: tuple[Path, ...] = ()
    """Empty where a model calls."""
    own_files: tuple[Path, ...] = ()
    """What the flow is made of, by real paths: files, and folders with all that is in them. No tool writes there;
    empty where the flow lets them."""
    step: str = ""
    """The step (or item) that calls."""
    call_id: str = ""
    """Unique in the run."""
    grants: Grants = Grants()
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables that the step gives to tool code; there may be secrets among them."""
    kept: Kept = field(default_factory=Kept)
    """For the length of the step."""
    kept_for_run: Kept = field(default_factory=Kept)
    """For the length of the run, shared by all its steps."""


class Tool(Protocol):
    """One description, JSON Schema and implementation, usable as a step and by a model."""

    @property
    def name(self) -> str:
        """`NAME`, or `GROUP.NAME` where several tools are granted together as `GROUP`."""

    @property
    def description(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Json]:
        """JSON Schema of the arguments, an object with `additionalProperties: false`."""

    @property
    def effect(self) -> Effect: ...

    @property
    def code(self) -> str:
        """What tells this version of the tool's code from others: a hash, or a version."""

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        """Raises `StepError("tool", …)`; `arguments` have been checked against `parameters`.

        Cancelling it ends what it started."""
