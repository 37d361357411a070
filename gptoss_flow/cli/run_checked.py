"""Runs a flow that is known to be right, shows its progress and prints its outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from gptoss_flow.app.bind import Given
from gptoss_flow.app.run import Finished, run_flow_sync
from gptoss_flow.errors import ExitCode, FlowError, RecordError
from gptoss_flow.escape import for_terminal
from gptoss_flow.fields import json_text
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Sink
from gptoss_flow.record.state import summary
from gptoss_flow.ui.events import EventLines
from gptoss_flow.ui.live import RichProgress
from gptoss_flow.ui.progress import PlainProgress


def run_checked(
    plan: Plan,
    what: Given,
    *,
    model: str | None,
    offline: bool,
    as_json: bool,
    events: bool,
    quiet: bool,
    out: str | None,
) -> int:
    """Returns the exit code. Raises `RecordError`, and what a bug raised."""
    views: list[Sink] = [] if quiet else [_progress(plan)]
    lines = EventLines(sys.stdout) if events else None
    if lines is not None:
        views.append(lines)
    finished = run_flow_sync(plan, what, views=views, model=model, offline=offline)
    said = summary(finished.state, finished.folder) | {
        "status": finished.result.status,
        "outputs": finished.result.outputs,
    }
    try:
        if lines is not None:
            lines.end(said)
        elif as_json:
            _write(json.dumps(said, indent=2, ensure_ascii=False) + "\n", out)
        else:
            _write(_outputs(finished), out)
    except OSError:
        if finished.result.exit_code is ExitCode.OK:
            raise
        # Else how the run ended counts for more than that it could not be told.
    if finished.result.exit_code is ExitCode.RECORD:
        # The views are shown nothing that is not on record: this they do not know.
        raise RecordError(finished.result.error)
    if finished.result.bug is not None:
        click.echo(f"the record of the run is {finished.folder}", err=True)
        raise finished.result.bug
    return int(finished.result.exit_code)


def _progress(plan: Plan) -> Sink:
    last = next((node.id for node in reversed(plan.nodes.values()) if node.step.streams()), None)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return RichProgress(last_prompt=last)
    return PlainProgress(sys.stderr)


def _outputs(finished: Finished) -> str:
    """One output: its text; several: YAML. Of a failed run, what there is."""
    outputs = finished.result.outputs
    if finished.result.status != "succeeded":
        outputs = {name: value for name, value in outputs.items() if value is not None}
    if not outputs:
        return ""
    if len(outputs) > 1:
        return to_yaml(outputs)
    text = json_text(next(iter(outputs.values())))
    return text if text.endswith("\n") else text + "\n"


def _write(text: str, out: str | None) -> None:
    if out is not None:
        try:
            Path(out).write_text(text, encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise FlowError(f"cannot write {out}: {error.strerror}; the outputs are in the run's record") from None
    elif not text:
        pass  # not even that can be written to a terminal that is gone
    elif sys.stdout.isatty():
        sys.stdout.write(for_terminal(text))
    else:
        # A pipe or file gets the bytes as they are; what no encoding can hold is escaped.
        sys.stdout.buffer.write(text.encode("utf-8", errors="backslashreplace"))
