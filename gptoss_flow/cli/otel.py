"""`--otel`: the option that sends a run's spans to a collector, and the sink behind it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import click

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.escape import one_line
from gptoss_flow.events import RunStarted
from gptoss_flow.ports import Sink

F = TypeVar("F", bound=Callable[..., Any])


def otel_options(command: F) -> F:
    """`--otel` and `--otel-content`."""
    command = click.option(
        "--otel-content", is_flag=True,
        help="Says --otel, and sends prompts, answers, arguments and results too, and errors that may quote them.",
    )(command)  # fmt: skip
    return click.option(
        "--otel", is_flag=True,
        help="Send the run's spans to the OpenTelemetry collector that OTEL_EXPORTER_OTLP_ENDPOINT names. "
        "[default: http://localhost:4318]",
    )(command)  # fmt: skip


def otel_views(otel: bool, content: bool, earlier: RunStarted | None = None) -> list[Sink]:
    """The sink that was asked for, if it was. Raises `Unavailable` without the packages for it, and `Invalid`."""
    if not (otel or content):
        return []
    try:
        from gptoss_flow.record.otel import Otel
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        said = "--otel needs OpenTelemetry's packages, which are not installed"
        raise Unavailable(Problem(None, said, "pip install 'gptoss-flow[otel]'")) from None
    return [Otel(_warn, content=content, earlier=earlier)]


def _warn(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        click.echo(f"warning: {one_line(line)}", err=True)
