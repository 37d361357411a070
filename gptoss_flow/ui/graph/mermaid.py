"""The graph in Mermaid's language, which GitHub and GitLab draw in Markdown."""

from __future__ import annotations

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail

# Ids are prefixed: `end` and others are words of Mermaid's own.
_PREFIX = "s_"


def draw_mermaid(plan: Plan) -> str:
    lines = ["flowchart TD"]
    lines += [
        f'  {_PREFIX}{node.id}["{node.id}<br/><small>{detail(node)}</small>"]' for node in plan.nodes.values()
    ]
    lines += [f"  {_PREFIX}{needed} --> {_PREFIX}{needing}" for needed, needing in plan.edges()]
    return "\n".join(lines) + "\n"
