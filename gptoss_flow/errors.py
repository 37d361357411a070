"""What can go wrong and how it is said: places in files, problems, the error tree, exit codes.

Error classes hold data; `cli.main` is the one place that draws them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


class ExitCode(IntEnum):
    """The exit codes of the contract. Several failures: the first of `PRECEDENCE` that occurred."""

    OK = 0
    FAILED = 1
    INVALID = 2
    UNAVAILABLE = 3
    LIMITED = 4
    REJECTED = 5
    MISMATCH = 6
    RECORD = 7
    BUG = 70
    INTERRUPTED = 130
    TERMINATED = 143


PRECEDENCE = (
    ExitCode.BUG,
    ExitCode.INTERRUPTED,
    ExitCode.TERMINATED,
    ExitCode.RECORD,
    ExitCode.MISMATCH,  # of a replay, in which nothing else counts but bugs and signals
    ExitCode.INVALID,
    ExitCode.UNAVAILABLE,
    ExitCode.LIMITED,
    ExitCode.FAILED,
    ExitCode.REJECTED,
)


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The code that a run with all these failures ends with; `OK` where there is none."""
    found = set(codes)
    return next((code for code in PRECEDENCE if code in found), ExitCode.OK)


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A place in a text: `line` and `column` count from 1; `source` is the path as the user gave it.

    Line 0: `source` alone is the place, as of a value that an option gave.
    """

    source: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where, what, and what is allowed or to be done (`hint`)."""

    mark: Mark | None
    message: str
    hint: str = ""

    def __str__(self) -> str:
        said = f"{self.message}; {self.hint}" if self.hint else self.message
        return f"{self.mark}: {said}" if self.mark else said


class FlowError(Exception):
    """The root of every expected error: something that a user can understand and mend."""

    exit_code = ExitCode.FAILED

    def __init__(self, *problems: Problem | str) -> None:
        self.problems = tuple(Problem(None, p) if isinstance(p, str) else p for p in problems)
        super().__init__("\n".join(map(str, self.problems)))


class Invalid(FlowError):
    """The flow, profile, input or command line is wrong; nothing was started."""

    exit_code = ExitCode.INVALID


class Unavailable(FlowError):
    """A model is missing or does not fit, a server could not start or died for good, a sandbox is missing."""

    exit_code = ExitCode.UNAVAILABLE


class Mismatch(FlowError):
    """A replay asked for something else than its record, or was answered something else."""

    exit_code = ExitCode.MISMATCH


class RecordError(FlowError):
    """The record could not be written or read."""

    exit_code = ExitCode.RECORD


ErrorKind = Literal["timeout", "server", "model", "schema", "check", "tool", "expression", "cancelled"]
"""What a step can fail of; the first six are what `retry.on` may name."""


class StepError(Exception):
    """A step's own failure, which becomes its `error` value: `retry` and `on_error` decide what it means.

    `exit_code` is what the run ends with if nothing handles the failure. `retryable` says whether trying
    again can help at all (a request that the server refused as malformed can not). `unsure`: nobody knows whether
    what was asked of a tool has happened all the same, as where it was asked and its answer never came.
    """

    def __init__(
        self,
        kind: ErrorKind,
        message: str,
        *,
        mark: Mark | None = None,
        retryable: bool = True,
        exit_code: ExitCode | None = None,
        unsure: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind
        self.message = message
        self.mark = mark
        self.retryable = retryable
        self.unsure = unsure
        self.exit_code = exit_code or (ExitCode.REJECTED if kind == "check" else ExitCode.FAILED)
