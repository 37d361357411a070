"""A tool with an effect that can be counted: a line in a file, to be written once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Literal

from gptoss_flow.events import Json
from gptoss_flow.ports import ToolContext

FILE = "effects"


class Append:
    """`ports.Tool`; it works in the loop's own thread, so that its calls of the system count with the rest."""

    name = "append"
    description = "Append a line to a file."
    parameters: Mapping[str, Json] = {
        "type": "object",
        "properties": {"line": {"type": "string"}},
        "required": ["line"],
        "additionalProperties": False,
    }
    effect: Literal["pure", "idempotent", "once"] = "once"
    code = "1"

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        descriptor = os.open(context.workspace / FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, f"{arguments['line']}\n".encode())
        finally:
            os.close(descriptor)
        return "done"


APPEND = Append()


class RemoveRecord(Append):
    """Removes the record of every run, as somebody may who tidies up too early."""

    name = "remove_record"
    description = "Remove all records."
    parameters: Mapping[str, Json] = {"type": "object", "properties": {}, "additionalProperties": False}

    async def call(self, arguments: Mapping[str, Json], context: ToolContext) -> Json:
        shutil.rmtree(context.workspace / ".gptoss-flow")
        return "gone"


TOOLS = (APPEND, RemoveRecord())
