"""The tool `python`: code in a sandboxed interpreter that remembers, within a step, what was defined before."""

from __future__ import annotations

import asyncio
import json
import secrets
import struct
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from gptoss_flow.errors import StepError
from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext
from gptoss_flow.tools.base import Arguments, BuiltIn
from gptoss_flow.tools.sandbox import choose
from gptoss_flow.tools.sandbox.job import LIMITS, Job
from gptoss_flow.tools.sandbox.process import Kept, Process, last_word
from gptoss_flow.tools.shell import MAX_OUTPUT_BYTES, MAX_TIMEOUT_S, OUTPUT_BYTES, TIMEOUT_S, beyond

LENGTH = struct.Struct(">I")
REPLY_ROOM = 64 << 10
ESCAPED = 12
"""Bytes that JSON may need for one character."""
LOST = "what was defined before is lost"


class Python(Arguments):
    code: str
    """Python code. What it prints and the last expression's value come back; names stay for the next call."""
    timeout_s: Annotated[float, Field(ge=0.1, le=MAX_TIMEOUT_S)] = TIMEOUT_S
    """Seconds after which it is ended."""
    max_output_bytes: Annotated[int, Field(ge=1, le=MAX_OUTPUT_BYTES)] = OUTPUT_BYTES
    """How much is given back of each output, and of the value; more is cut in the middle."""


@dataclass(frozen=True, slots=True)
class Reply:
    value: str | None
    error: str | None


class Session:
    """A step's interpreter: started by the first call, replaced after it ended. One call at a time."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._one_at_a_time = asyncio.Lock()

    async def execute(self, arguments: Python, context: ToolContext) -> Json:
        async with self._one_at_a_time:
            whole = False
            try:
                result = await self._execute(arguments, context)
                whole = not result.pop("lost")
                return result
            finally:
                if not whole:
                    await self.aclose()

    async def _execute(self, arguments: Python, context: ToolContext) -> dict[str, Json]:
        out, err, lost = Kept(arguments.max_output_bytes), Kept(arguments.max_output_bytes), False
        timed_out = False
        try:
            async with asyncio.timeout(arguments.timeout_s):
                reply = await self._asked(arguments, context, out, err)
        except TimeoutError:
            timed_out = lost = True
            reply = Reply(None, f"not finished after {arguments.timeout_s:g} s, so it was ended: {LOST}")
        except Exited as exited:
            lost = True
            reply = Reply(None, f"the interpreter ended with exit code {exited.code}: {LOST}")
        return {
            "stdout": out.text(),
            "stderr": err.text(),
            "value": reply.value,
            "error": reply.error,
            "truncated": out.truncated or err.truncated,
            "timed_out": timed_out,
            "lost": lost,
        }

    async def _asked(self, arguments: Python, context: ToolContext, out: Kept, err: Kept) -> Reply:
        kind = choose(context.grants)
        if self._process is None:
            job = Job(
                argv=kind.program("interpreter.py"),
                workspace=context.workspace,
                own_files=context.own_files,
                env=context.env,
                network=context.grants.network,
                replies=True,
            )
            self._process = await Process.start(kind, job)
        nonce, keep = secrets.token_hex(16), arguments.max_output_bytes
        request = json.dumps({"nonce": nonce, "code": arguments.code, "keep": keep}).encode()
        self._process.write(LENGTH.pack(len(request)) + request)
        said, replied = 0, bytearray()
        while True:
            letter, data = await self._process.frame()
            match letter:
                case b"o" | b"e":
                    (out if letter == b"o" else err).add(data)
                    said += len(data)
                    if said > LIMITS.output_bytes:
                        raise beyond("output", LIMITS, f"the interpreter, with {LOST},")
                case b"r":
                    replied += data
                    if (reply := read_reply(replied, nonce, keep)) is not None:
                        return reply
                case _:
                    code, limit = last_word(data)
                    if limit:
                        raise beyond(limit, LIMITS, "the interpreter")
                    raise Exited(code)

    async def aclose(self) -> None:
        """The interpreter ends, and all that it started."""
        process, self._process = self._process, None
        if process is not None:
            await process.end()


class Exited(Exception):
    """The code ended its interpreter."""

    def __init__(self, code: int | None) -> None:
        super().__init__()
        self.code = code


def read_reply(data: bytes | bytearray, nonce: str, keep: int) -> Reply | None:
    """The reply to the request with this nonce; None until it is whole. Raises `StepError` where it is none.

    The code itself could have written it: it is bounded text and nothing more.
    """
    if len(data) < LENGTH.size:
        return None
    (length,) = LENGTH.unpack_from(data)
    if length > keep * ESCAPED + REPLY_ROOM:
        raise _no_reply()
    if len(data) < LENGTH.size + length:
        return None
    try:
        said = json.loads(bytes(data[LENGTH.size :]))
    except (ValueError, RecursionError):
        raise _no_reply() from None
    match said:
        case {"nonce": str(named), "value": str() | None as value, "error": str() | None as error} if (
            named == nonce
        ):
            return Reply(_bounded(value, keep), _bounded(error, keep))
        case _:
            raise _no_reply()


def _bounded(text: str | None, keep: int) -> str | None:
    """Without lone surrogates, which JSON can spell and a record cannot hold."""
    return None if text is None else text.encode("utf-8", "replace").decode()[: keep + 100]


def _no_reply() -> StepError:
    return StepError(
        "tool", f"the code wrote into the interpreter's channel, so it was ended: {LOST}", unsure=True
    )


async def execute(arguments: Python, context: ToolContext) -> Json:
    return await context.kept.get("python", Session).execute(arguments, context)


PYTHON = BuiltIn(
    name="python",
    description=(
        "Run Python code in a sandbox, like a cell of a notebook: names stay for the next call. "
        "The current folder is the workspace; there is no network."
    ),
    effect="once",
    arguments=Python,
    work=execute,
    parts=("sandbox",),
)
