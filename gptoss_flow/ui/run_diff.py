"""The difference between two runs, for a terminal."""

from __future__ import annotations

from gptoss_flow.escape import one_line
from gptoss_flow.record.compare import RunDifference
from gptoss_flow.words import count

SHOWN = 8
"""How many of the steps that do not differ are named."""


def drawn(first: str, second: str, difference: RunDifference) -> str:
    """Lines, each with its newline: the runs, what differs of them, then step by step."""
    lines = [f"--- {first}", f"+++ {second}", *difference.run]
    for step in difference.steps:
        lines.append(f"step {step.step}")
        lines += [f"  {said}" for said in step.said]
    if not difference:
        lines.append("the same in all but times")
    elif difference.same:
        shown = ", ".join(difference.same[:SHOWN]) + (" …" if len(difference.same) > SHOWN else "")
        lines.append(f"{count(len(difference.same), 'unit')} the same: {shown}")
    return "".join(f"{one_line(line)}\n" for line in lines)
