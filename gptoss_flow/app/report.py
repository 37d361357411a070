"""Reads a run back as a report, and puts a report where it is wanted."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from gptoss_flow.app.runs import Run, run_folder, run_json
from gptoss_flow.errors import Problem, RecordError
from gptoss_flow.record.folder import EVENTS
from gptoss_flow.record.index import is_running
from gptoss_flow.record.journal_file import JournalDamage, read_journal
from gptoss_flow.ui.report.view import Report, RunView, fold_view

REPORT = "report.html"
"""In the run's folder."""


def read_report(base: Path, wanted: str) -> Report:
    """The run that is called so, as `run_folder` has it. Raises `RecordError`."""
    folder = run_folder(base, wanted)
    going_on = is_running(folder)
    damage = JournalDamage()
    view = fold_view(read_journal(folder / EVENTS, damage))
    return make_report(Run(folder, view.state, damage, going_on), view)


def make_report(run: Run, view: RunView) -> Report:
    """`view` is the fold of the run's events."""
    facts = run_json(run)
    return Report(
        view=view,
        units=view.units(is_live=run.status == "running"),
        status=run.status,
        folder=str(run.folder),
        damage=facts["damage"],
        facts=facts,
    )


def write_report(path: Path, text: str) -> None:
    """The whole file or none, readable by its owner alone: written beside it and moved. Raises `RecordError`."""
    unfinished = ""
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, encoding="utf-8")  # a pipe, /dev/stdout: nothing to be moved onto
            return
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(unfinished).replace(path)
    except OSError as error:
        if unfinished:
            with suppress(OSError):
                Path(unfinished).unlink()
        said = f"cannot write {path}: {error.strerror or type(error).__name__}"
        raise RecordError(Problem(None, said, "write it elsewhere with --out")) from error
