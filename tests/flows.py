"""Flows written in tests: text to plan."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.plan.plan import Plan


def compile_text(text: str, name: str = "flow.yaml") -> Plan:
    """The plan of a flow that is given as text; messages call it by `name`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8")
        return check_flow(path)
