"""What a drawing says of a step."""

from __future__ import annotations

from gptoss_flow.plan.plan import Node


def detail(node: Node) -> str:
    """A step's kind, server, and that it fans out or runs on a condition: `prompt @main, foreach`."""
    said = [f"{node.step.kind} @{node.server}" if node.step.runs_on == "server" else node.step.kind]
    said += ["foreach"] if node.foreach else []
    said += ["always"] if node.always else ["when"] if node.step.when is not None else []
    return ", ".join(said)
