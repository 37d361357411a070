"""Flows written in tests: text to plan."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from gptoss_flow.app.check import check_flow
from gptoss_flow.errors import Invalid, Mark, Problem
from gptoss_flow.plan.plan import Plan


def compile_text(text: str, name: str = "flow.yaml", *, changes: Sequence[str] = ()) -> Plan:
    """The plan of a flow that is given as text; messages call it by `name`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(text, encoding="utf-8")
        return check_flow(path, changes=changes)


def compile_files(files: dict[str, str]) -> Plan:
    """The plan of the first of several flow files that lie in one folder."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        return check_flow(Path(folder, next(iter(files))))


def problems_in(files: dict[str, str]) -> list[str]:
    """What is wrong with the first of several flow files, each problem as `file:line:col: …`."""
    try:
        compile_files(files)
    except Invalid as error:
        return [str(_named(problem)) for problem in error.problems]
    return []


def _named(problem: Problem) -> Problem:
    """With the file's name alone as its place, also in the message."""
    mark = problem.mark
    if mark is None:
        return problem
    folder = f"{Path(mark.source).parent}/"
    named = Mark(Path(mark.source).name, mark.line, mark.column)
    return Problem(named, problem.message.replace(folder, ""), problem.hint.replace(folder, ""))
