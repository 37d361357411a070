"""The command line's entrance: the table of commands, each loaded when it runs, and the one error boundary."""

from __future__ import annotations

import atexit
import errno
import gc
import importlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from gptoss_flow import __version__
from gptoss_flow.errors import ExitCode, FlowError, Problem
from gptoss_flow.escape import for_terminal

COMMANDS = {
    "run": "Run a flow.",
    "infer": "Ask a model one question.",
    "query": "Go on from a text, as fast as it can be.",
    "bench": "Measure a server: a flow's bench steps, or a quick sample.",
    "validate": "Check a flow file; nothing is started.",
    "plan": "Show the order, the servers and what would run.",
    "graph": "Draw a flow's graph: text, mermaid, dot or svg.",
    "resume": "Go on with a run that was interrupted or failed.",
    "replay": "Repeat a run from its record and hold it against it.",
    "diff": "Compare two runs, step by step.",
    "ls": "List the runs on record.",
    "show": "Show a run, or one of its steps.",
    "report": "Show all of a run: HTML, text, Markdown, JSON, JUnit.",
    "rm": "Remove runs from the record.",
    "lock": "Write down what a flow's profiles are made of.",
    "server": "Start, stop and look at managed servers.",
    "tools": "List, show and call tools.",
    "model": "List, fetch and look at model files.",
    "log": "Read, check, count and convert logs of runs.",
    "profile": "List, show, check and compare server profiles.",
    "init": "Begin a project: a first flow, a profile, CI.",
    "doctor": "Say whether this machine is ready, and what to do if not.",
    "schema": "Print the JSON Schema of flows, profiles or events.",
    "completion": "Print a shell's completion script.",
}
"""Every command with its line of help. Command `x` is `gptoss_flow.cli.x.command`, imported when it is used."""

BROKEN_PIPE = 128 + 13
"""As a shell tells of SIGPIPE."""
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

atexit.register(gc.freeze)  # to search for garbage in what ends anyway takes 15 ms


class ReaderLeft(Exception):
    """Whoever read standard output has left. click itself would make an exit code of 1 of a `BrokenPipeError`."""


@contextmanager
def _reader_left() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderLeft from None


class Commands(click.Group):
    """A group whose commands are modules that are imported on use: `--help` costs no more than click itself."""

    def make_context(self, *args: Any, **given: Any) -> click.Context:
        with _reader_left():  # it prints --help and --version
            return super().make_context(*args, **given)

    def invoke(self, ctx: click.Context) -> object:
        with _reader_left():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        gc.disable()  # what modules are made of stays: to look through it for garbage is time lost
        try:
            command = importlib.import_module(f"gptoss_flow.cli.{cmd_name}").command
        finally:
            gc.enable()
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "GPTOSS_FLOW"},
    epilog="Start with: gptoss-flow init",
)
@click.version_option(__version__, prog_name="gptoss-flow")
def cli() -> None:
    """Declarative pipelines for local models: YAML flows, a managed llama.cpp server, every step on record."""


def main(argv: list[str] | None = None) -> int:
    """Run a command and return its exit code. Users' mistakes, interrupts and bugs meet here."""
    _open_closed_streams()
    _buffer_stdout()
    if "_GPTOSS_FLOW_COMPLETE" in os.environ:
        from gptoss_flow.cli.shell import answer

        return answer(cli)
    try:
        code = int(cli.main(args=argv, prog_name="gptoss-flow", standalone_mode=False) or 0)
        if (trouble := _flush_stdout()) and not code:
            raise trouble
        return code
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.ClickException as error:
        error.show(sys.stderr)
        return int(ExitCode.INVALID)
    except FlowError as error:
        for problem in error.problems:
            print(_drawn(problem), file=sys.stderr)
        return int(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _say("interrupted")
        return int(ExitCode.INTERRUPTED)
    except (ReaderLeft, BrokenPipeError):
        _flush_stdout()
        return BROKEN_PIPE
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in UNWRITABLE:
            # Standard output: whoever writes to anything else sees to its errors there.
            _say(f"cannot write to standard output: {error.strerror}")
            _flush_stdout()
            return int(ExitCode.FAILED)
        if _needs_files(error):
            sys.unraisablehook = lambda _: None  # an event loop that was half made complains of that at its end
            _say("too many files are open: raise the limit on them (ulimit -n) and run it again")
            return int(ExitCode.FAILED)
        if isinstance(error, FileNotFoundError) and _is_folder_gone():
            _say("the folder that this was started in is gone: go to another one (cd) and run it again")
            return int(ExitCode.INVALID)
        _say(f"this is a bug in gptoss-flow {__version__}: {type(error).__name__}: {error}")
        if os.environ.get("GPTOSS_FLOW_TRACEBACK"):
            import traceback

            traceback.print_exception(error)
        else:
            _say("set GPTOSS_FLOW_TRACEBACK=1 and run it again to see where; please report that")
        return int(ExitCode.BUG)


def _is_folder_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _needs_files(error: BaseException | None) -> bool:
    """Whether it comes from the limit on open files, however the library that met it dealt with that."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            return True
        error = error.__cause__ or error.__context__
    return False


def _drawn(problem: Problem) -> str:
    # The drawing reads the file that is complained of, which is needless where all goes well.
    from gptoss_flow.ui.snippet import render_problem

    return render_problem(problem, None, color=sys.stderr.isatty() and "NO_COLOR" not in os.environ)


def _open_closed_streams() -> None:
    """A standard stream that was closed becomes nothing: else the next file to be opened would take its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _buffer_stdout() -> None:
    """Under PYTHONUNBUFFERED nobody sees to the rest of what is written in part: on a full disk it was lost."""
    if isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        encoding, errors = sys.stdout.encoding, sys.stdout.errors
        sys.stdout = os.fdopen(sys.stdout.fileno(), "w", 1, encoding, errors, closefd=False)


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        print(for_terminal(line), file=sys.stderr)


def _flush_stdout() -> OSError | None:
    """What keeps the output from being written: a reader that left early (`| head`), a full disk.

    It is noticed here and not in a traceback at interpreter exit: from then on standard output is nothing.
    """
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return error
    return None
