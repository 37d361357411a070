"""The table of ways to draw a plan's graph."""

from collections.abc import Callable

from gptoss_flow.plan.plan import Plan
from gptoss_flow.ui.graph.dot import draw_dot
from gptoss_flow.ui.graph.mermaid import draw_mermaid
from gptoss_flow.ui.graph.svg import draw_svg
from gptoss_flow.ui.graph.text import draw_text

FORMATS: dict[str, Callable[[Plan], str]] = {
    "text": draw_text,
    "mermaid": draw_mermaid,
    "dot": draw_dot,
    "svg": draw_svg,
}
