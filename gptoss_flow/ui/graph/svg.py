"""The graph as one SVG image: steps in layers, each below those that it needs; light and dark."""

from __future__ import annotations

from html import escape

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.label import detail

CHAR, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 7.8, 46, 28, 44, 16  # pixels; CHAR is one character of the label's font

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
    boxes, width, height = _places(plan)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="The graph of {escape(plan.name)}">',
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>',
    ]
    for needed, needing in plan.edges():
        (x1, y1, w1), (x2, y2, w2) = boxes[needed], boxes[needing]
        ax, ay, bx, by = x1 + w1 / 2, y1 + BOX_HEIGHT, x2 + w2 / 2, y2
        bend = (by - ay) / 2
        parts.append(
            f'<path d="M{ax:.1f} {ay:.1f} C{ax:.1f} {ay + bend:.1f} {bx:.1f} {by - bend:.1f} {bx:.1f} {by:.1f}" '
            'marker-end="url(#tip)"/>'
        )
    for node in plan.nodes.values():
        x, y, w = boxes[node.id]
        middle = x + w / 2
        parts += [
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{BOX_HEIGHT}" rx="7"/>',
            f'<text x="{middle:.1f}" y="{y + 19:.1f}">{escape(node.id)}</text>',
            f'<text class="kind" x="{middle:.1f}" y="{y + 36:.1f}">{escape(detail(node))}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def _places(plan: Plan) -> tuple[dict[str, tuple[float, float, float]], float, float]:
    """Each step's x, y and width in pixels, and the size of the whole image."""
    layer: dict[str, int] = {}
    for node in plan.nodes.values():  # in topological order
        layer[node.id] = max((layer[need.step] + 1 for need in node.needs), default=0)
    rows: dict[int, list[str]] = {}
    for step, depth in layer.items():
        rows.setdefault(depth, []).append(step)
    widths = {node.id: CHAR * max(len(node.id), len(detail(node))) + 24 for node in plan.nodes.values()}
    spans = {depth: sum(widths[s] for s in row) + GAP_X * (len(row) - 1) for depth, row in rows.items()}
    total = max(spans.values())
    boxes: dict[str, tuple[float, float, float]] = {}
    for depth, row in rows.items():
        x: float = MARGIN + (total - spans[depth]) / 2
        for step in row:
            boxes[step] = (x, MARGIN + depth * (BOX_HEIGHT + GAP_Y), widths[step])
            x += widths[step] + GAP_X
    height = 2 * MARGIN + len(rows) * (BOX_HEIGHT + GAP_Y) - GAP_Y
    return boxes, total + 2 * MARGIN, height
