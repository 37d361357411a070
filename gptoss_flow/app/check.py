"""A flow file to a plan: everything that can be known without starting anything."""

from __future__ import annotations

import os
from pathlib import Path

from gptoss_flow.lang.load import load_flow
from gptoss_flow.plan.compile import compile_flow
from gptoss_flow.plan.plan import Plan
from gptoss_flow.tools import TOOLS


def check_flow(path: str | Path, cwd: Path | None = None) -> Plan:
    """Read, check and compile a flow file. Raises `Invalid` with every problem, in file order."""
    return compile_flow(load_flow(Path(path), cwd or Path.cwd(), os.environ), TOOLS)
