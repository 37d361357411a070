"""Runs a flow that is known to be right, shows its progress and prints its outputs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import click

from gptoss_flow.app.bind import Given
from gptoss_flow.app.finished import Finished
from gptoss_flow.app.run import MakeKnown, Resumption, run_flow_sync
from gptoss_flow.cli.out import write_out
from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.escape import for_terminal
from gptoss_flow.events import Json
from gptoss_flow.fields import json_text
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Sink
from gptoss_flow.record.state import summary
from gptoss_flow.ui.ask import terminal_ask
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
    keep_in: str | None = None,
    select: frozenset[str] | None = None,
    known: MakeKnown | None = None,
    said: Mapping[str, Json] | None = None,
    resume: Resumption | None = None,
    watchers: Sequence[Sink] = (),
    unsandboxed: bool = False,
    keep_baselines: bool = False,
) -> int:
    """Returns the exit code. Raises `RecordError`, and what a bug raised.

    `keep_in`: a folder for a log of the run, by date; the flow may name one too. `watchers` see every event too.
    """
    as_text = sys.stdout.isatty() and not (as_json or events or out is not None)
    progress = None if quiet else progress_of(plan, outputs_follow=as_text)
    views: list[Sink] = [progress] if progress is not None else []
    views += watchers
    lines = EventLines(sys.stdout) if events else None
    if lines is not None:
        views.append(lines)
    finished = run_flow_sync(
        plan,
        what,
        views=views,
        model=model,
        offline=offline,
        select=select,
        known=known,
        said=said,
        resume=resume,
        keep_in=None if keep_in is None else what.cwd / keep_in,
        ask=terminal_ask(sys.stderr, progress.paused if isinstance(progress, RichProgress) else nullcontext),
        unsandboxed=unsandboxed,
        keep_baselines=keep_baselines,
    )
    tell(finished, lines, as_json=as_json, out=out)
    if finished.result.exit_code is ExitCode.RECORD:
        # The views are shown nothing that is not on record: this they do not know.
        raise RecordError(finished.result.error)
    if quiet and finished.result.error and finished.result.bug is None:
        click.echo(for_terminal(finished.result.error), err=True)  # no view has told it
    if finished.result.bug is not None:
        click.echo(f"the record of the run is {finished.folder}", err=True)
        raise finished.result.bug
    return int(finished.result.exit_code)


def tell(finished: Finished, lines: EventLines | None, *, as_json: bool, out: str | None) -> None:
    """Print what a run gave: the last line of its events, JSON, or its outputs."""
    ended = summary(finished.state, finished.folder) | {
        "status": finished.result.status,
        "outputs": finished.result.outputs,
    }
    try:
        if lines is not None:
            lines.end(ended)
            if out is not None:
                _write(_outputs(finished), out)
        elif as_json:
            _write(json.dumps(ended, indent=2, ensure_ascii=False) + "\n", out)
        else:
            _write(_outputs(finished), out)
    except OSError:
        if finished.result.exit_code is ExitCode.OK:
            raise
        # Else how the run ended counts for more than that it could not be told.


def progress_of(plan: Plan, *, outputs_follow: bool = False) -> PlainProgress | RichProgress:
    """What shows a run on standard error, as the terminal can.

    `outputs_follow`: they are printed as text on a terminal, and so most probably on the same one.
    """
    last = _last_streaming(plan)
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return RichProgress(last_prompt=last, outputs_follow=outputs_follow)
    return PlainProgress(sys.stderr)


def _last_streaming(plan: Plan) -> str | None:
    """The step whose answer is worth watching: the last that streams, also within a flow that a step runs."""
    for node in reversed(plan.nodes.values()):
        if node.final:
            continue
        if node.step.streams():
            return node.id
        if node.inner is not None and (inner := _last_streaming(node.inner)) is not None:
            return f"{node.id}.{inner}"
    return None


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
        write_out(text, out)
    elif not text:
        pass  # not even that can be written to a terminal that is gone
    elif sys.stdout.isatty():
        sys.stdout.write(for_terminal(text))
    else:
        # A pipe or file gets the bytes as they are; what no encoding can hold is escaped.
        sys.stdout.buffer.write(text.encode("utf-8", errors="backslashreplace"))
