"""The graph in Graphviz's language."""

from __future__ import annotations

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail


def draw_dot(plan: Plan) -> str:
    lines = [
        f'digraph "{plan.name}" {{',
        "  rankdir=TB;",
        '  node [shape=box, style=rounded, fontname="sans-serif"];',
    ]
    lines += [f'  "{node.id}" [label="{node.id}\\n{detail(node)}"];' for node in plan.nodes.values()]
    lines += [f'  "{needed}" -> "{needing}";' for needed, needing in plan.edges()]
    return "\n".join([*lines, "}"]) + "\n"
