"""The graph as lines of text: each step, also of flows inside, and the steps that it needs."""

from __future__ import annotations

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail, every_step


def draw_text(plan: Plan) -> str:
    rows = [(step_id, detail(node), ", ".join(needs)) for step_id, node, needs in every_step(plan)]
    widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {'<- ' + c if c else ''}".rstrip() for a, b, c in rows]
    return "\n".join(lines) + "\n"
