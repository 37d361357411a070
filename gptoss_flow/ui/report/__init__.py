"""A run as a document: FORMATS maps each form's name to the function that draws a `Report` in it."""

from __future__ import annotations

from gptoss_flow.ui.report.html import draw_html
from gptoss_flow.ui.report.json_form import draw_json
from gptoss_flow.ui.report.junit import draw_junit
from gptoss_flow.ui.report.markdown import draw_markdown
from gptoss_flow.ui.report.text import draw_text

FORMATS = {"html": draw_html, "text": draw_text, "md": draw_markdown, "json": draw_json, "junit": draw_junit}
