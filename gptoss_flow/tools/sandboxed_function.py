"""A call of a user's function in the sandbox: the code goes in as text, the JSON that comes back is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gptoss_flow.errors import StepError
from gptoss_flow.escape import one_line
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.json_value import MAX_BYTES, json_value
from gptoss_flow.tools.sandbox import choose
from gptoss_flow.tools.sandbox.job import Job
from gptoss_flow.tools.sandbox.process import run
from gptoss_flow.tools.shell import MAX_TIMEOUT_S, beyond

MAX_SAID = 4000


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a function is had from: the text of a file, or an installed module."""

    function: str
    file: str
    source: str = ""
    module: str = ""


async def call_in_sandbox(tool: str, origin: Origin, arguments: Mapping[str, Json], context: ToolContext) -> Json:
    """What the function gives. Raises `StepError`."""
    kind = choose(context.grants)
    job = Job(
        argv=kind.program("function.py"),
        workspace=context.workspace,
        own_files=context.own_files,
        env=context.env,
        network=context.grants.network,
    )
    request = {
        "source": origin.source,
        "module": origin.module,
        "function": origin.function,
        "file": origin.file,
        "arguments": dict(arguments),
    }
    stdin = json.dumps(request).encode()
    ended = await run(kind, job, timeout_s=MAX_TIMEOUT_S, keep_bytes=2 * MAX_BYTES, stdin=stdin)
    who = f'tool "{tool}"'
    if ended.limit:
        raise beyond(ended.limit, job.limits, f"the function of {who}")
    if ended.timed_out:
        raise StepError(
            "timeout", f"{who} was not finished after {MAX_TIMEOUT_S:g} s, so it was ended", unsure=True
        )
    try:
        reply = json.loads(ended.stdout)
        if isinstance(reply, dict) and isinstance(said := reply.get("error"), str):
            raise StepError("tool", f"{who}: {said[:MAX_SAID]}")
        return json_value(reply["result"])
    except (ValueError, KeyError, TypeError, RecursionError):
        last = ended.stderr.strip().rpartition("\n")[2]
        why = one_line(last[:MAX_SAID]) or f"it ended with exit code {ended.exit_code}"
        raise StepError("tool", f"{who} gave nothing back: {why}", unsure=True) from None
