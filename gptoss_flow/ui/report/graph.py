"""The flow's graph as the record tells it: boxes and lines with their pixels, for the template to draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_flow.ui.graph.layers import BOX_HEIGHT, arrange, curve
from gptoss_flow.ui.report.facts import detail
from gptoss_flow.ui.report.view import Report, Unit

LARGEST = 400
"""Steps; nobody reads a larger picture."""
_CHAR, _SMALL_CHAR, _LONGEST = 7.9, 6.7, 36


@dataclass(frozen=True, slots=True)
class Node:
    """Pixels; the label is cut to what the box holds."""

    unit: Unit
    x: float
    y: float
    width: float
    label: str
    detail: str
    is_final: bool


@dataclass(frozen=True, slots=True)
class Graph:
    nodes: Sequence[Node]
    lines: Sequence[tuple[str, bool]]
    """The `d` of each SVG path, and whether it comes from a step that did not succeed."""
    width: float
    height: float
    box_height: float = BOX_HEIGHT


def draw_graph(report: Report) -> Graph | None:
    """None where there is nothing to draw: no steps, too many, or a record without their order."""
    started, units = report.started, {unit.step.id: unit for unit in report.units}
    if not units or len(units) > LARGEST or started is None:
        return None
    labels = {step: _cut(step) for step in units}
    details = {step: _cut(detail(unit)) for step, unit in units.items()}
    widths = {step: max(_CHAR * len(labels[step]), _SMALL_CHAR * len(details[step])) + 52.0 for step in units}
    drawing = arrange(widths, started.needs, started.final)
    nodes = [
        Node(unit, box.x, box.y, box.width, labels[step], details[step], step in started.final)
        for step, unit in units.items()
        for box in (drawing.boxes[step],)
    ]
    lines = [(curve(points), units[edge[0]].outcome != "succeeded") for edge, points in drawing.lines.items()]
    return Graph(nodes, lines, drawing.width, drawing.height)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
