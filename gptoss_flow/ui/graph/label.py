"""What a drawing says of a step, and the steps that it shows."""

from __future__ import annotations

from collections.abc import Iterator

from gptoss_flow.escape import one_line
from gptoss_flow.plan.plan import Node, Plan
from gptoss_flow.words import count


def detail(node: Node) -> str:
    """A step's kind and server, and what else decides how often and when it runs: `prompt @main, foreach`."""
    said = [_kind(node)]
    said += [count(len(node.tools), "tool")] if node.tools else []
    said += ["foreach"] if node.foreach else ["matrix"] if node.matrix else []
    said += ["repeat"] if node.repeat else []
    said += [f"else {_kind(node.fallback)}"] if node.fallback else []
    said += ["always"] if node.always else ["when"] if node.step.when is not None else []
    said += ["finally"] if node.final else []
    return ", ".join(said)


def _kind(node: Node) -> str:
    if node.inner is not None:
        return f"flow {one_line(node.inner.name)}"
    return f"{node.step.kind} @{node.server}" if node.step.runs_on == "server" else node.step.kind


def every_step(plan: Plan, inside: str = "") -> Iterator[tuple[str, Node, list[str]]]:
    """Each step of a plan and of the flows inside it: its id in the run, and those that it needs."""
    for node in plan.nodes.values():
        yield f"{inside}{node.id}", node, [f"{inside}{need.step}" for need in node.needs]
        if node.inner is not None:
            yield from every_step(node.inner, f"{inside}{node.id}.")
