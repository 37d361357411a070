"""The tool `shell`: a command in the sandbox, with the workspace to read and write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.sandbox import choose
from gptoss_flow.tools.sandbox.job import Job, LimitName, Limits
from gptoss_flow.tools.sandbox.process import run

TIMEOUT_S, MAX_TIMEOUT_S = 60.0, 3600.0
OUTPUT_BYTES, MAX_OUTPUT_BYTES = 32 << 10, 1 << 20


class Shell(Arguments):
    command: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)]
    """What to run: a line for /bin/sh, or a program and its arguments as a list. It begins in the workspace."""
    timeout_s: Annotated[float, Field(ge=0.1, le=MAX_TIMEOUT_S)] = TIMEOUT_S
    """Seconds after which it is ended."""
    max_output_bytes: Annotated[int, Field(ge=1, le=MAX_OUTPUT_BYTES)] = OUTPUT_BYTES
    """How much is given back of each of its outputs; more is cut in the middle."""

    @field_validator("command")
    @classmethod
    def _without_nul(cls, command: str | list[str]) -> str | list[str]:
        if "\0" in "".join(command):
            raise ValueError("holds a NUL character, which no command can")
        return command


async def execute(arguments: Shell, context: ToolContext) -> Json:
    kind = choose(context.grants)
    command = arguments.command
    job = Job(
        argv=["/bin/sh", "-c", command] if isinstance(command, str) else command,
        workspace=context.workspace,
        own_files=context.own_files,
        env=context.env,
        network=context.grants.network,
    )
    ended = await run(kind, job, timeout_s=arguments.timeout_s, keep_bytes=arguments.max_output_bytes)
    if ended.limit:
        raise beyond(ended.limit, job.limits, "the command")
    return {
        "exit_code": ended.exit_code,
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        "truncated": ended.truncated,
        "timed_out": ended.timed_out,
    }


def beyond(limit: LimitName, limits: Limits, who: str) -> StepError:
    """A program was ended because of a limit; its class is the first word."""
    said = {
        "memory": f"more than {limits.memory_bytes >> 20} MiB of memory were in use, or the machine had none left",
        "processes": f"more than {limits.processes} processes and threads were running",
        "cpu": f"a process used more than {limits.cpu_s} s of processor time",
        "disk": f"more than {limits.disk_bytes >> 20} MiB, or {limits.file_bytes >> 20} MiB to one file, "
        "were written, or the disk was nearly full",
        "output": f"more than {limits.output_bytes >> 20} MiB were printed",
    }
    return StepError("tool", f"limit:{limit}: {said[limit]}; {who} was ended", unsure=True)


SHELL = BuiltIn(
    name="shell",
    description=(
        "Run a command in a sandbox: the workspace can be read and written, nothing else of this machine "
        "can be reached, nor any network."
    ),
    effect="once",
    arguments=Shell,
    work=execute,
    parts=("sandbox",),
)
