"""`gptoss-flow report`: a run as one HTML file, as text, Markdown, JSON or JUnit's XML."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from gptoss_flow.app.report import REPORT, read_report, write_report
from gptoss_flow.cli import complete
from gptoss_flow.errors import Invalid
from gptoss_flow.ui.paths import short_path
from gptoss_flow.ui.report import FORMATS
from gptoss_flow.user_path import user_path


@click.command("report")
@click.argument("run", default="latest", metavar="[RUN]", shell_complete=complete.runs)
@click.option(
    "-f",
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    default="html",
    show_default=True,
    help="html, or text, md (for $GITHUB_STEP_SUMMARY), json, junit.",
)
@click.option(
    "-o",
    "--out",
    metavar="FILE",
    type=click.Path(path_type=str),
    help="Write it there; - is standard output. [default: report.html in the run's folder; of others: -]",
)
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def command(run: str, form: str, out: str | None, opens: bool) -> None:
    """Show all of a run: its graph, when what ran, tokens and speeds, every prompt, answer and call.

    The HTML report is one file that loads nothing and can be sent to others. RUN is an id or the beginning of one,
    `latest` (the default), or the path of a run's folder. Of a run that goes on, or whose record is damaged, the
    report has what there is, and says so.

    \b
    Examples:
      gptoss-flow report --open
      gptoss-flow report latest -f md >> "$GITHUB_STEP_SUMMARY"
      gptoss-flow report 20261105 -f junit -o junit.xml
    """
    if out is None:
        out = "" if form == "html" else "-"
    if opens and (form != "html" or out == "-"):
        raise Invalid("--open needs an HTML report in a file: leave --format and --out - away")
    report = read_report(Path.cwd(), run)
    text = FORMATS[form](report)
    if out == "-":
        click.echo(text, nl=False)
        return
    path = user_path(out) if out else Path(report.folder) / REPORT
    write_report(path, text)
    click.echo(short_path(path))
    if opens and not webbrowser.open(path.resolve().as_uri()):
        raise Invalid(f"no browser could be started; open {short_path(path)} in one")
