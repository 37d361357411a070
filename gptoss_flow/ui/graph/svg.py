"""The graph as one SVG image: steps in layers, each below those that it needs; light and dark."""

from __future__ import annotations

from html import escape

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail
from gptoss_flow.ui.graph.layers import BOX_HEIGHT, arrange, curve

CHAR = 7.8
"""Pixels that one character of a label takes."""

_STYLE = """
  text { font: 13px ui-monospace, monospace; fill: #1f2328; text-anchor: middle }
  .kind { font-size: 11px; fill: #59636e }
  rect { fill: #f6f8fa; stroke: #59636e }
  path { fill: none; stroke: #8c959f }
  marker path { fill: #8c959f; stroke: none }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .kind { fill: #9198a1 } rect { fill: #151b23; stroke: #9198a1 }
  }"""


def draw_svg(plan: Plan) -> str:
    nodes = plan.nodes.values()
    drawing = arrange(
        {node.id: CHAR * max(len(node.id), len(detail(node))) + 24 for node in nodes},
        {node.id: [need.step for need in node.needs] for node in nodes},
        {node.id for node in nodes if node.final},
    )
    width, height = drawing.width, drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="The graph of {escape(plan.name)}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    parts += [f'<path d="{curve(points)}" marker-end="url(#tip)"/>' for points in drawing.lines.values()]
    for node in nodes:
        box = drawing.boxes[node.id]
        parts += [
            f'<rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{BOX_HEIGHT:.0f}" rx="7"/>',
            f'<text x="{box.middle:.1f}" y="{box.y + 19:.1f}">{escape(node.id)}</text>',
            f'<text class="kind" x="{box.middle:.1f}" y="{box.y + 36:.1f}">{escape(detail(node))}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
