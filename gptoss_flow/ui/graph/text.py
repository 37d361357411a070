"""The graph as lines of text: each step, and the steps that it needs."""

from __future__ import annotations

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail


def draw_text(plan: Plan) -> str:
    rows = [(node.id, detail(node), ", ".join(need.step for need in node.needs)) for node in plan.nodes.values()]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {'<- ' + c if c else ''}".rstrip() for a, b, c in rows]
    return "\n".join(lines) + "\n"
