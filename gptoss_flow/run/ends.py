"""How a run ends, or a flow inside it: what failed, and the status, code and line that this amounts to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from gptoss_flow.errors import ExitCode, StepError, worst
from gptoss_flow.events import Json, RunFinished, RunStatus
from gptoss_flow.record.state import Tokens

ENDS_ALL = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, ExitCode.LIMITED)
"""What ends the flows inside steps with the run."""


@dataclass(frozen=True)
class RunResult:
    """How a run ended. `bug` is an exception that nothing expected."""

    status: RunStatus
    exit_code: ExitCode
    outputs: dict[str, Json]
    error: str = ""
    bug: BaseException | None = None


@dataclass(slots=True)
class Failures:
    """The failures that nothing handled, as they come."""

    codes: list[ExitCode] = field(default_factory=list)
    first: Mapping[str, Json] | None = None
    """The `error` of the first unit that failed."""
    line: str = ""
    """What is told of them: of the first unit, unless something else ended the run."""

    def add(self, unit: str, error: Mapping[str, Json], code: ExitCode) -> None:
        self.codes.append(code)
        if self.first is None:
            self.first = error
            self.line = self.line or f"step {unit}: {error['message']}"

    def ended_by(self, code: ExitCode, line: str) -> None:
        """This ended the run: it is told before what steps said, unless another end counts for more."""
        self.codes.append(code)
        if self.code is code:
            self.line = line

    @property
    def code(self) -> ExitCode:
        return worst(self.codes)


def status_of(code: ExitCode) -> RunStatus:
    match code:
        case ExitCode.OK:
            return "succeeded"
        case ExitCode.INTERRUPTED | ExitCode.TERMINATED:
            return "cancelled"
        case ExitCode.LIMITED:
            return "limited"
        case _:
            return "failed"


def result_of(
    failures: Failures, outputs: dict[str, Json], faults: Sequence[StepError], bug: BaseException | None
) -> RunResult:
    """`faults`: why some outputs could not be computed, which fails a run that else succeeded."""
    if failures.code is ExitCode.OK and faults:
        failures.ended_by(faults[0].exit_code, f"{faults[0].mark}: {faults[0].message}")
    return RunResult(status_of(failures.code), failures.code, outputs, failures.line, bug)


def last_event(result: RunResult, tokens: Tokens, duration_s: float) -> RunFinished:
    return RunFinished(
        status=result.status,
        exit_code=int(result.exit_code),
        outputs=result.outputs,
        tokens=asdict(tokens),
        duration_s=duration_s,
        error=result.error,
    )
