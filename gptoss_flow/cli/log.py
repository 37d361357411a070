"""`gptoss-flow log`: reads, checks, counts, converts and mends rlogs, our own and others'."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from gptoss_flow.app.rlogs import check_file, convert_file, mend_file
from gptoss_flow.cli.options import json_option
from gptoss_flow.cli.while_read import while_read
from gptoss_flow.errors import ExitCode, FlowError, Invalid, RecordError
from gptoss_flow.escape import for_terminal, one_line
from gptoss_flow.record.rlog_check import Report
from gptoss_flow.record.rlog_fields import U32, number_of, word_of
from gptoss_flow.record.rlog_lines import LINE_TYPES, classify
from gptoss_flow.record.rlog_read import STDIN, open_rlog, read_lines, rlog_files
from gptoss_flow.record.rlog_tail import RlogTail, follow
from gptoss_flow.run.clock import SystemClock
from gptoss_flow.ui.rlogs import draw_changes, draw_check, draw_counts

_PRINTED_AT_ONCE = 500

_files = click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=str))
_out = click.option("-o", "--out", metavar="PATH", type=click.Path(path_type=Path), help="Write to this file.")
_strict = click.option(
    "--strict/--lenient",
    default=False,
    help="Make errors of some warnings, or not. [default: lenient]",
)


@click.group("log")
def command() -> None:
    """Read, check, count, convert and mend logs in the format rlog/1: those of our runs and those of other tools.

    FILE is a path, a folder (every *.rlog below it), or - for standard input. A run's log is
    .gptoss-flow/runs/<id>/run.rlog.
    """


@command.command("validate", short_help="Say what is wrong with a log.")
@_files
@_strict
@click.option("-v", "--verbose", is_flag=True, help="Show notes (severity info) too.")
@json_option
def validate(files: tuple[str, ...], strict: bool, verbose: bool, as_json: bool) -> int:
    """Check FILES line by line. Exit code 2 if one is not valid.

    E001 (no session can be read: no header, no format rlog/…, no id or repo_sha) is an error always. With --strict
    so are a call that never ends (W007), an observation of no call (W002), a step that goes back (W004), an
    unknown line (W003), a header value of the wrong form (W008, W009, W011), what is not UTF-8 (W010), and @start
    without @end (I002) where the header has totals or a duration, or a comment says "status: completed".

    With --json, one object for each file, one on a line:
    {"file", "valid", "header", "lines": {type: n}, "issues": [{"line", "severity", "code", "message"}], "calls",
    "tokens": {"in", "out", "cached"}}.

    \b
    Examples:
      gptoss-flow log validate --strict .gptoss-flow/runs
      gptoss-flow log validate docs/logs/*/*.rlog --json | jq -r 'select(.valid | not) | .file'
    """

    def draw(name: str, report: Report) -> str:
        return draw_check(name, report, with_notes=verbose)

    return _report(files, draw, strict=strict, as_json=as_json)


@command.command("stats", short_help="Count lines, calls and tokens.")
@_files
@_strict
@json_option
def stats(files: tuple[str, ...], strict: bool, as_json: bool) -> int:
    """Count FILES: lines of each type, calls, tokens. Exit code 2 if one is not valid.

    A tool's start and its end are one call. Totals of tokens are those of @end, else of the header, else the sum
    over all lines. With --json the object that `validate` prints.

    \b
    Examples:
      gptoss-flow log stats run.rlog
      gptoss-flow log stats docs/logs --json | jq -s 'map(.tokens.out) | add'
    """
    return _report(files, draw_counts, strict=strict, as_json=as_json)


@command.command("cat", short_help="Print a log, or some of its lines.")
@_files
@click.option("--type", "types", multiple=True, type=click.Choice(LINE_TYPES), help="Only lines of this type.")
@click.option("--step", metavar="STEP", help="Only lines of a step of ours (its id), or with this step= number.")
def cat(files: tuple[str, ...], types: tuple[str, ...], step: str | None) -> None:
    """Print FILES with every control character made visible.

    \b
    Examples:
      gptoss-flow log cat run.rlog --step summary
      gptoss-flow log cat run.rlog --type user --type agent
    """

    def show(name: str) -> None:
        batch: list[str] = []
        for text in _chosen(name, frozenset(types), step):
            batch.append(for_terminal(text, keep="\t"))
            if len(batch) == _PRINTED_AT_ONCE:
                click.echo("\n".join(batch))
                batch.clear()
        if batch:
            click.echo("\n".join(batch))

    _each(files, show, with_heads=True)


@command.command("tail", short_help="Print a log's last lines, and what is added.")
@_files
@click.option("-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="How many.")
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Go on with what is added, until Ctrl-C.")
def tail(files: tuple[str, ...], lines: int, is_followed: bool) -> None:
    """Print the last lines of FILES with every control character made visible.

    With -f, of one file, it goes on with each line that is finished, also after the file was truncated or another
    one has taken its place.

    \b
    Examples:
      gptoss-flow log tail -n 50 run.rlog
      gptoss-flow log tail -f run.rlog
    """
    if not is_followed:
        _each(files, lambda name: _print(_last(name, lines)), with_heads=True)
        return
    found = [name for given in files for name in rlog_files(given)]
    if len(found) != 1 or found[0] == STDIN:
        raise click.UsageError("-f follows one file")
    asyncio.run(while_read(_follow(RlogTail(Path(found[0])), lines)))


@command.command("convert", short_help="Turn a log into JSONL, and back.")
@_files
@_out
def convert(files: tuple[str, ...], out: Path | None) -> None:
    """Turn rlogs into JSONL, and such JSONL into the rlog that it was, byte for byte.

    The JSONL is first {"type": "rlog", "header": {...}}, then an object for each line of the file: "line" (its
    number), "type" (one of `log cat --type`, or header, preamble), "content", what it has of call_id, step,
    timestamp, tid, span, level, latency_ms, attempt, result, parent, sig, tokens_in, tokens_out, tokens_cached,
    interrupted, model; "raw", the whole line; and on the last one "newline": false where it has none. On the way
    back "raw" and "newline" alone are read.

    To standard output, or to --out, which is a folder where there are several FILES.

    \b
    Examples:
      gptoss-flow log convert run.rlog | jq -r 'select(.type == "tool") | .content'
      gptoss-flow log convert run.rlog -o run.jsonl
      gptoss-flow log convert run.jsonl -o same.rlog
    """
    found = [name for given in files for name in rlog_files(given)]
    if len(found) > 1 and not (out is not None and out.is_dir()):
        raise click.UsageError("several files need --out FOLDER, a folder that exists")
    _each(tuple(found), lambda name: convert_file(name, out, sys.stdout.buffer))


@command.command("fix", short_help="Mend what can be mended.")
@_files
@_out
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be done.")
@json_option
def fix(files: tuple[str, ...], out: Path | None, dry_run: bool, as_json: bool) -> int:
    """Mend FILES and say each change. Exit code 2 if no session can be read from one even so.

    Mended are: a missing newline at the end, CR LF, a byte order mark, bytes that are no UTF-8 (which become
    \\xff), a line that is no event (a continuation of the event above), "-> [ok]" (→), and [REDACTED], which
    becomes [redacted:secret]. What only the writer can know, such as an empty id or the end of a call, is named
    and stays.

    The file as it was is kept as FILE.bak. What comes from standard input goes to standard output.

    \b
    Examples:
      gptoss-flow log fix old.rlog
      gptoss-flow log fix -n docs/logs
      gptoss-flow log fix - < old.rlog > new.rlog
    """
    found = [name for given in files for name in rlog_files(given)]
    if out is not None and len(found) > 1:
        raise click.UsageError("--out takes what one file becomes")
    readable = True

    def mend(name: str) -> None:
        nonlocal readable
        mended = mend_file(name, out, sys.stdout.buffer, write=not dry_run)
        readable = readable and not mended.report.header.missing
        to_stderr = name == STDIN and out is None and not dry_run
        drawn = draw_changes(name, mended.changes, mended.report, mended.kept)
        click.echo(_json(mended.as_json(name)) if as_json else drawn, err=to_stderr)

    _each(tuple(found), mend)
    return int(ExitCode.OK if readable else ExitCode.INVALID)


def _report(files: tuple[str, ...], draw: Callable[[str, Report], str], *, strict: bool, as_json: bool) -> int:
    valid = True

    def check(name: str) -> None:
        nonlocal valid
        report = check_file(name, strict=strict)
        valid = valid and report.valid
        click.echo(_json(report.as_json(name)) if as_json else draw(name, report))

    _each(files, check)
    return int(ExitCode.OK if valid else ExitCode.INVALID)


def _json(value: dict[str, Any]) -> str:
    """On one line of printable ASCII, whatever text is in it."""
    return json.dumps(value).replace("\x7f", r"\u007f")


def _each(files: tuple[str, ...], act: Callable[[str], None], *, with_heads: bool = False) -> None:
    """Do it with every file, whatever becomes of the others; then raise what went wrong."""
    failures: list[FlowError] = []
    found: list[str] = []
    for given in files:
        try:
            found += rlog_files(given)
        except FlowError as error:
            failures.append(error)
    for name in found:
        if with_heads and len(found) > 1:
            click.echo(one_line(f"==> {name} <=="))
        try:
            act(name)
        except FlowError as error:
            failures.append(error)
    problems = [problem for failure in failures for problem in failure.problems]
    if any(isinstance(failure, RecordError) for failure in failures):
        raise RecordError(*problems)
    if failures:
        raise Invalid(*problems)


def _chosen(name: str, types: frozenset[str], step: str | None) -> Iterator[str]:
    """The lines of a file that are asked for; all, the header's too, where nothing is."""
    span = re.compile(rf"{re.escape(re.sub(r'[^A-Za-z0-9_]', '_', step or '').rstrip('_'))}(_\d+)*_*", re.ASCII)
    with open_rlog(name) as file:
        for _, text, _ in read_lines(file):
            kind, content = classify(text)
            if types and kind not in types:
                continue
            if step is not None:
                number = number_of(content, "step=", U32)
                if not span.fullmatch(word_of(content, "span=") or "") and str(number) != step:
                    continue
            yield text


def _last(name: str, lines: int) -> list[str]:
    if name == STDIN:
        with open_rlog(name) as file:
            return list(deque((text for _, text, _ in read_lines(file)), maxlen=lines))
    reader = RlogTail(Path(name))
    try:
        return reader.last(lines)
    finally:
        reader.close()


async def _follow(reader: RlogTail, lines: int) -> None:
    try:
        _print(reader.last(lines, with_torn=False))
        sys.stdout.flush()
        async for added in follow(reader, SystemClock()):
            for note in reader.notes:
                click.echo(f"the file was {note}", err=True)
            reader.notes.clear()
            _print(added)
            sys.stdout.flush()
    finally:
        reader.close()


def _print(lines: list[str]) -> None:
    if lines:
        click.echo("\n".join(for_terminal(line, keep="\t") for line in lines))
