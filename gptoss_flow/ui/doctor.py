"""Draws what was found about a machine as text for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gptoss_flow.escape import one_line
from gptoss_flow.events import Json

COLORS = {"ok": 32, "warn": 33, "fail": 31}


def draw_checks(checks: Sequence[Mapping[str, Json]], *, color: bool) -> str:
    """A line for each, its fix below it; the mappings have `name`, `level`, `said` and `fix`."""
    width = max(len(check["name"]) for check in checks)
    lines = []
    for check in checks:
        level = check["level"].ljust(4)
        shown = f"\x1b[{COLORS[check['level']]}m{level}\x1b[0m" if color else level
        lines.append(f"{shown}  {check['name'].ljust(width)}  {one_line(check['said'])}")
        if check["fix"]:
            lines.append(f"{'':4}  {'':{width}}  -> {one_line(check['fix'])}")
    return "\n".join(lines)
