"""A run that has ended, as its caller is told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gptoss_flow.errors import ExitCode, RecordError
from gptoss_flow.events import Json, RunStatus
from gptoss_flow.record.redact import Redactor
from gptoss_flow.record.state import RunState
from gptoss_flow.run.ends import RunResult


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that ended, with the fold of its events and the folder of its record."""

    result: RunResult
    state: RunState
    folder: Path

    @property
    def status(self) -> RunStatus:
        return self.result.status

    @property
    def outputs(self) -> Mapping[str, Json]:
        """What it gave; null for what a run that failed could not compute."""
        return self.result.outputs

    @property
    def error(self) -> str:
        """What ended it, where it did not succeed."""
        return self.result.error


def unrecorded(error: RecordError) -> RunResult:
    """The end of a run whose record could not be written."""
    return RunResult("failed", ExitCode.RECORD, {}, str(error))


def without_secrets(result: RunResult, redactor: Redactor) -> RunResult:
    """What the user is given. A value that only looks like a secret may be just what the flow is for."""
    if result.bug is not None:
        result.bug.args = tuple(redactor.named(str(said)) for said in result.bug.args)
    return replace(result, outputs=redactor.named_value(result.outputs), error=redactor.named(result.error))
