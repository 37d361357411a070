"""The table of sandboxes, and which of them runs a step's tool code."""

from __future__ import annotations

import sys

from gptoss_flow.errors import Problem
from gptoss_flow.ports import Grants
from gptoss_flow.tools.sandbox.bwrap import Bubblewrap
from gptoss_flow.tools.sandbox.container import Container
from gptoss_flow.tools.sandbox.job import Kind, unavailable
from gptoss_flow.tools.sandbox.none import NoSandbox
from gptoss_flow.tools.sandbox.sandbox_exec import SandboxExec

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (Bubblewrap(), SandboxExec(), Container("docker"), Container("podman"), NoSandbox())
}
"""By the name that a step gives it; `auto` is one of the first two."""


def automatic() -> Kind:
    return KINDS["sandbox-exec" if sys.platform == "darwin" else "bwrap"]


def choose(grants: Grants) -> Kind:
    """The sandbox that is granted, once it works. Raises `StepError`, with which a run ends with exit 3."""
    if grants.sandbox == "dangerously_none" and not grants.unsandboxed:
        raise unavailable(
            Problem(
                None,
                'the step says "sandbox: dangerously_none", by which a model\'s code would run as you',
                "take that out, or allow it for this run with --allow-unsandboxed",
            )
        )
    kind = automatic() if grants.sandbox == "auto" else KINDS[grants.sandbox]
    if problem := kind.problem():
        raise unavailable(problem)
    return kind
