"""What is run in a sandbox and how it ended: the values that its parts share, and what each kind of sandbox is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from gptoss_flow.errors import ExitCode, Problem, StepError

INSIDE = Path(__file__).parent / "inside"
"""The programs and files that are bound into a sandbox."""
TOOLS_AT = "/run/gptoss-flow"
"""Where they lie in it."""
WORKSPACE_AT = "/workspace"
"""Where the workspace lies in it, to be read and written."""
MIB = 1 << 20

LimitName = Literal["memory", "processes", "cpu", "disk", "output"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program and all that it starts may use together, where it does not say otherwise."""

    memory_bytes: int = 2048 * MIB
    processes: int = 256
    """Threads count too."""
    cpu_s: int = 3600
    """Of each process."""
    file_bytes: int = 1024 * MIB
    """The size of one file."""
    disk_bytes: int = 4096 * MIB
    """Written in all."""
    open_files: int = 1024
    """Of each process."""
    temporary_bytes: int = 512 * MIB
    """In /tmp, which is memory; /dev/shm has as much again."""
    disk_reserve_bytes: int = 512 * MIB
    """What must stay free on the workspace's disk."""
    memory_reserve_bytes: int = 256 * MIB
    """What must stay available of the machine's memory."""
    output_bytes: int = 64 * MIB
    """Standard output and standard error together, most of which is not kept."""


LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One program to run."""

    argv: Sequence[str]
    workspace: Path
    own_files: tuple[Path, ...] = ()
    """What else of the workspace may only be read."""
    env: Mapping[str, str] = field(default_factory=dict)
    """All that it finds in its environment beside what every sandbox has."""
    network: bool = False
    limits: Limits = LIMITS
    replies: bool = False
    """Whether it has descriptor 3 to reply on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. What it wrote was cut in the middle where it was too much to keep."""

    exit_code: int | None
    """128 and the signal where one ended it, as a shell says it; None where we did."""
    stdout: str
    stderr: str
    truncated: bool
    timed_out: bool = False
    limit: LimitName | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How the host starts a job: the argument list that ends in the warden, and what the warden is told of where
    it is."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Of the process that makes the sandbox; the program has its own."""
    pass_fds: tuple[int, ...] = ()
    folder: str = WORKSPACE_AT
    base_env: Mapping[str, str] = field(default_factory=dict)
    """What the program finds in its environment where the job does not say otherwise."""
    own_processes: bool = True
    """Whether the warden is process 1 of a namespace: all that it sees is the program's doing."""
    counts_processes: bool = True
    """Whether the kernel counts the sandbox's processes alone, so that a limit on them is the program's own."""
    same: Sequence[tuple[str, int, int]] = ()
    """Paths inside with the device and inode that they must have."""
    end: Sequence[str] = ()
    """A command that ends it where killing the process that started it is not enough."""


class Kind(Protocol):
    """A kind of sandbox."""

    @property
    def name(self) -> str: ...

    def problem(self) -> Problem | None:
        """Why it cannot be used on this machine, with the fix; None if it can. Looked at once in a process."""

    def program(self, name: str) -> list[str]:
        """How one of the programs in `INSIDE` is run there, by the Python that it has."""

    def launch(self, job: Job) -> Launch:
        """Raises `StepError`. The caller closes the descriptors."""


def unavailable(problem: Problem) -> StepError:
    """No sandbox, no tool: the step fails, and the run ends with exit 3."""
    return StepError("tool", str(problem), retryable=False, exit_code=ExitCode.UNAVAILABLE)
