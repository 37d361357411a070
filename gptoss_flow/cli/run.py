"""`gptoss-flow run`: runs a flow and prints its outputs."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click

from gptoss_flow.app.check import check_flow
from gptoss_flow.app.run import SCRIPTED, Finished, run_flow_sync
from gptoss_flow.cli.given import read_given
from gptoss_flow.cli.options import flow_argument, input_options, json_option, server_option
from gptoss_flow.cli.plan import describe_plan
from gptoss_flow.errors import ExitCode, FlowError, Invalid, RecordError
from gptoss_flow.escape import for_terminal
from gptoss_flow.fields import json_text
from gptoss_flow.lang.dump import to_yaml
from gptoss_flow.plan.plan import Plan
from gptoss_flow.ports import Sink
from gptoss_flow.record.state import summary
from gptoss_flow.ui.events import EventLines
from gptoss_flow.ui.live import RichProgress
from gptoss_flow.ui.progress import PlainProgress


@click.command("run")
@flow_argument
@input_options
@server_option
@click.option("--model", metavar="scripted:FILE", help="Answer prompts from a file; no server is started.")
@click.option("--workspace", metavar="DIR", help="The root for file tools. [default: the current folder]")
@click.option("--offline", is_flag=True, help="Download nothing.")
@click.option("--dry-run", is_flag=True, help="Check everything that was given and show the plan; run nothing.")
@json_option
@click.option("--events", is_flag=True, help="Print one event a line as they happen.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("-o", "--out", metavar="FILE", help="Write the outputs to a file.")
def command(
    flow: str,
    given: tuple[str, ...],
    inputs_file: str | None,
    servers: tuple[str, ...],
    model: str | None,
    workspace: str | None,
    offline: bool,
    dry_run: bool,
    as_json: bool,
    events: bool,
    quiet: bool,
    out: str | None,
) -> int:
    """Run FLOW: its steps in their order, each on record; then print its outputs.

    \b
    Examples:
      gptoss-flow run flows/summarize-repo.yaml -i path=src
      git diff | gptoss-flow run flows/review-diff.yaml -i diff=@-
    """
    if model is not None and not model.startswith(SCRIPTED):
        raise click.BadParameter(f'"{model}" is not a model; write {SCRIPTED}FILE', param_hint="--model")
    if out is not None and not Path(out).parent.is_dir():
        raise Invalid(f"--out {out}: there is no folder {Path(out).parent}")
    plan = check_flow(flow)
    what = read_given(plan, given, inputs_file, servers, workspace)
    if dry_run:
        click.echo(describe_plan(plan, what))
        return 0
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
